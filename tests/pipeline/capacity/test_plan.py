"""A large job, reckoned: against cases worked out by hand, and its requests against what a store counts."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from maskmill.jobs import cli
from maskmill.models.errors import UsageError
from maskmill.models.resize import ResizeRule
from maskmill.models.segmenter import ClassFeatures
from maskmill.pipeline.bench.constant import ConstantSegmenter
from maskmill.pipeline.bench.images import write_shard
from maskmill.pipeline.bench.replica import label, labeler
from maskmill.pipeline.bench.results import Bench, Feeding, Row
from maskmill.pipeline.capacity.inputs import PlanConfig
from maskmill.pipeline.capacity.plan import READS_A_SHARD, WRITES_A_SHARD, lines, plan
from maskmill.pipeline.config import InferenceConfig
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards.shard import describe_many

GIVEN: dict[str, Any] = {
    "images_per_shard": 1000,
    "rate": 500.0,
    "kept_rate": 1.0,
    "core_rate": 100.0,
    "cores_per_gpu": 8,
    "image_bytes": 200_000.0,
    "label_bytes": 4_000.0,
    "gbit_per_gpu": 8.0,
    "reads_per_second": 6000.0,
    "writes_per_second": 3000.0,
}
"""Two GPUs then do 1,000 images/s, their 16 cores 1,600, their 16 Gbit/s (2e9 bytes/s) 10,000 in and 500,000 out, the
store 6,000 x 1,000 / 5 = 1,200,000 and 3,000 x 1,000."""


def row(part: str, rate: float, **more: Any) -> Row:
    return Row(part=part, images=100, seconds=100 / rate, low=1.0, high=1.0, runs=5, **more)


BENCH = Bench(
    machine={"gpu": "made up", "cores": 16},
    versions={},
    settings={"model": "san-vit-b16", "dtype": "bfloat16"},
    rows=(
        row("model + segments", 900.0),
        row("model at shard's size", 800.0),
        row("shard", 720.0, bytes_read=25_000_000, bytes_written=300_000),
    ),
    feeding=Feeding(per_core=90.0, model_rate=800.0, model_cores=8.9, gpu_rate=2000.0, gpu_cores=22.2),
)


def test_a_job_that_gpus_hold_up() -> None:
    found = plan(3_600_000, 2, PlanConfig(**GIVEN))
    assert found.bottleneck.name == "GPU"
    assert [(one.name, one.limit) for one in found.resources] == [
        ("GPU", 1000.0),
        ("cores that feed it", 1600.0),
        ("network in", 10_000.0),
        ("network out", 500_000.0),
        ("store reads", 1_200_000.0),
        ("store writes", 3_000_000.0),
    ]
    assert [one.used for one in found.resources[:3]] == [1.0, 0.625, 0.1]
    assert (found.speed, found.gpu_hours, found.shards) == (1000.0, 2.0, 3600)
    assert found.days == pytest.approx(1 / 24)
    assert (found.bytes_read, found.bytes_written) == (7.2e11, 1.44e10)
    # 5 reads and 1 write a shard, and 4 answers to list 3,600 names.
    assert (found.reads, found.writes) == (18_000, 3_604)
    assert found.costs == {}


@pytest.mark.parametrize(
    ("change", "bottleneck", "speed"),
    [
        ({"cores_per_gpu": 2}, "cores that feed it", 400.0),
        ({"gbit_per_gpu": 0.4}, "network in", 500.0),
        ({"gbit_per_gpu": 1.0, "label_bytes": 1_000_000.0}, "network out", 250.0),
        ({"images_per_shard": 1, "reads_per_second": 2500.0}, "store reads", 500.0),
        ({"images_per_shard": 1, "writes_per_second": 100.0}, "store writes", 100.0),
        ({"kept_rate": 0.5}, "GPU", 500.0),
    ],
)
def test_what_holds_a_job_up_is_what_allows_least(change: dict[str, Any], bottleneck: str, speed: float) -> None:
    found = plan(3_600_000, 2, PlanConfig(**{**GIVEN, **change}))
    assert (found.bottleneck.name, found.speed) == (bottleneck, pytest.approx(speed))
    assert found.gpu_hours == pytest.approx(2 * 3_600_000 / speed / 3600)


def test_cost_is_amounts_times_the_prices_that_are_given() -> None:
    prices = {
        "price_gpu_hour": 2.5,
        "price_1000_reads": 0.0004,
        "price_1000_writes": 0.005,
        "price_gb_read": 0.0,
        "price_gb_month": 0.02,
    }
    found = plan(3_600_000, 2, PlanConfig(**GIVEN, **prices))
    assert found.costs == {
        "GPU-hours": 5.0,
        "requests that read": pytest.approx(0.0072),
        "requests that write": pytest.approx(0.01802),
        "bytes read": 0.0,
        "a month of labels": pytest.approx(0.288),
    }
    assert found.to_json()["cost"] == pytest.approx(5.31322)


def test_five_billion_images_on_sixty_four_gpus() -> None:
    found = plan(5_000_000_000, 64, PlanConfig(**{**GIVEN, "rate": 2000.0, "cores_per_gpu": 32, "gbit_per_gpu": 10.0}))
    # 64 x 2,000 = 128,000 images/s: 39,062.5 s, 694.4 GPU-hours; 10^15 bytes in, 2 x 10^13 out.
    assert found.speed == 128_000
    assert found.gpu_hours == pytest.approx(694.44, abs=0.01)
    assert found.days == pytest.approx(0.4521, abs=1e-4)
    assert (found.bytes_read, found.bytes_written, found.shards) == (1e15, 2e13, 5_000_000)


def test_a_bench_with_windows_is_of_a_job_with_windows() -> None:
    bench = replace(BENCH, rows=(*BENCH.rows, row("model + windows", 90.0), row("windows at shard's size", 100.0)))
    inputs = {one.name: one for one in plan(1000, 1, PlanConfig(), bench).inputs}
    assert inputs["a GPU"].value == pytest.approx(100.0)
    assert inputs["a GPU"].source.startswith('"windows at shard\'s size" of san-vit-b16')
    # What whole shards keep was measured without windows, against the model without.
    assert inputs["kept of it by whole shards"].value == pytest.approx(0.9)


def test_a_bench_gives_what_the_command_line_doesn_t() -> None:
    inputs = {one.name: one for one in plan(1000, 1, PlanConfig(), BENCH).inputs}
    assert (inputs["a GPU"].value, inputs["a GPU"].origin) == (pytest.approx(800.0), "measured")
    assert "made up" in inputs["a GPU"].source
    assert inputs["kept of it by whole shards"].value == pytest.approx(0.9)
    assert inputs["a core that feeds"].value == 90.0
    assert inputs["an image in its shard"].value == 250_000
    assert inputs["its labels"].value == 3_000
    assert (inputs["network for each GPU"].value, inputs["network for each GPU"].origin) == (10.0, "assumed")


def test_the_command_line_goes_before_a_bench() -> None:
    inputs = {one.name: one for one in plan(1000, 1, PlanConfig(rate=10.0, label_bytes=7.0), BENCH).inputs}
    assert (inputs["a GPU"].value, inputs["a GPU"].origin) == (10.0, "given")
    assert (inputs["its labels"].value, inputs["its labels"].origin) == (7.0, "given")
    # What a bench's shard kept of a bench's model says nothing about another rate.
    assert inputs["kept of it by whole shards"].origin == "assumed"


def test_a_whole_shard_never_keeps_more_than_the_model_gives() -> None:
    fast = replace(BENCH, rows=(*BENCH.rows[:2], row("shard", 900.0)))
    inputs = {one.name: one.value for one in plan(1000, 1, PlanConfig(), fast).inputs}
    assert inputs["kept of it by whole shards"] == 1.0


def test_every_input_is_printed_with_where_it_comes_from() -> None:
    found = plan(5_000_000_000, 64, PlanConfig(gbit_per_gpu=25.0), BENCH)
    told = "\n".join(lines(found))
    assert all(f"{one.name} " in told for one in found.inputs)
    for text in ("5,000,000,000 images on 64 GPUs", "given", "measured: 'model at shard's size'", "assumed: "):
        assert text.replace("'model at shard's size'", repr("model at shard's size")) in told
    assert "cost" not in told


def test_cores_that_nobody_measured_are_unknown_and_hold_nothing_up() -> None:
    found = plan(1000, 1, PlanConfig(rate=10.0))
    assert all(one.name != "cores that feed it" for one in found.resources)
    assert any("unknown" in line and "--core-rate" in line for line in lines(found))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rate": 0.0}, "--rate 0.0"),
        ({"rate": float("inf")}, "--rate inf"),
        ({"rate": 1.0, "kept_rate": 1.5}, "--kept-rate 1.5"),
        ({"rate": 1.0, "price_gpu_hour": -1.0}, "--price-gpu-hour -1.0"),
        ({"rate": 1.0, "images_per_shard": 0}, "--images-per-shard 0"),
        ({}, "--rate"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        plan(1000, 1, PlanConfig(**options))


def test_the_command_reads_a_bench_and_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    path = tmp_path / "bench.json"
    path.write_text(BENCH.to_json())
    words = ["plan", "--images", "7200000", "--gpus", "1", "--bench", str(path), "--cores-per-gpu", "100"]
    assert cli.run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bottleneck"] == "GPU"
    # 800 images/s x 0.9 kept: 10,000 s.
    assert found["gpu_hours"] == pytest.approx(10_000 / 3600)
    assert cli.run(words) == 0
    assert "7,200,000 images on 1 GPUs" in capsys.readouterr().out


@pytest.mark.slow
def test_a_shard_takes_the_requests_that_are_reckoned_with(tmp_path: Path) -> None:
    from tests.fault_proxy import fault_proxy
    from tests.s3_server import led_to, moto_server

    data = write_shard(tmp_path / "a.tar", (64, 64), 4).read_bytes()
    nothing = ClassFeatures(features=torch.ones(1, 1), stuff=torch.zeros(1, dtype=torch.bool))
    with moto_server() as store, fault_proxy(store.endpoint) as proxy, led_to(store, proxy.endpoint):
        store.put_all({f"in/{name}.tar": data for name in "abc"})
        shards = describe_many([store.url(f"in/{name}.tar") for name in "abc"])
        constant = ConstantSegmenter(ResizeRule(short_side=64))
        with labeler(constant, nothing, tmp_path, InferenceConfig(), batch_size=2, threads=1) as replica:
            # As in a job, whose run.json is read again before each label file is published.
            run = {"fingerprint": replica.fingerprint, "identity": {}}
            Output.of(store.url("out")).create_json(Output.of(store.url("out")).run, run)
            before = proxy.requests()
            for shard in shards:
                label(shard, replace(replica, output=Output.of(store.url("out"))))
        kinds: Counter[str] = Counter()
        for kind, count in (proxy.requests() - before).items():
            kinds[kind.partition(" ")[0]] += count
    assert kinds["GET"] + kinds["HEAD"] == len(shards) * READS_A_SHARD
    assert kinds["PUT"] == len(shards) * WRITES_A_SHARD
    assert set(kinds) == {"GET", "HEAD", "PUT"}
