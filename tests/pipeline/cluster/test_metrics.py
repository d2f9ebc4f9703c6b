"""A local Ray's agent, scraped as Prometheus does it, shows each metric of the table by name, with true values."""

import json
import math
import os
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families

from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.templates import load_templates
from maskmill.pipeline.cluster.labeling import to_tasks
from maskmill.pipeline.cluster.metrics import (
    IMAGES,
    OTHER,
    REPLICAS,
    SHARD_SECONDS,
    SHARDS,
    SHARDS_IN_FLIGHT,
    TABLE,
    ReplicaMetrics,
    ShardMetrics,
)
from maskmill.pipeline.cluster.replica import Replica, ReplicaSpec, prepare
from maskmill.pipeline.config import ReplicaConfig
from maskmill.pipeline.labeling.placement import Placement
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.counts import Counts
from maskmill.pipeline.ledger.ledger import PHASES, LedgerRow
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.errors import SAMPLE_REASONS, SHARD_REASONS
from maskmill.pipeline.shards.shard import describe
from maskmill.pipeline.stores import stores
from tests.plain_run import PLAIN

PATIENCE = 90.0

SECONDS = {"download": 0.7, "decode": 5.0, "model": 61.0, "encode": 0.2, "publish": 0.05}
DONE = LedgerRow(
    url="s3://bucket/a.tar",
    size=1000,
    bytes=300,
    state="done",
    counts=Counts(read=10, labeled=8, failed={"decode": 2}, segments=21),
    seconds=SECONDS,
)
CUT = LedgerRow(
    url="s3://bucket/b.tar", size=400, state="failed", error="truncated: cut", seconds=dict.fromkeys(PHASES, 0.0)
)
STRANGE = LedgerRow(url="s3://bucket/c.tar", state="failed", error="s3://user:secret@host: not one of our words")


def test_each_name_can_be_a_prometheus_name_and_is_there_once():
    names = [name for metric in TABLE for name in metric.exported]
    assert len(set(names)) == len(names)
    assert all(name.startswith("ray_maskmill_") and name.replace("_", "").isalpha() for name in names)


def test_the_series_of_a_replica_are_few_and_known_beforehand():
    buckets = sum(len(metric.series) * (len(metric.boundaries) + 2) for metric in TABLE if metric.kind == "histogram")
    assert sum(len(metric.series) for metric in TABLE) + buckets < 150
    assert {tags["reason"] for tags in SHARDS.series} == {"", OTHER, *SHARD_REASONS}
    assert {tags["reason"] for tags in IMAGES.series} == {"", OTHER, *SAMPLE_REASONS}
    for metric in TABLE:
        assert all(tuple(tags) == metric.tag_keys for tags in metric.series)


def test_boundaries_grow_and_are_what_ray_takes():
    for metric in TABLE:
        assert (metric.kind == "histogram") == bool(metric.boundaries)
        assert list(metric.boundaries) == sorted(set(metric.boundaries))
        assert all(boundary > 0 for boundary in metric.boundaries)


@dataclass
class Scrape:
    """What the agent shows, as sample name and our own tags to one value a process."""

    values: dict[tuple[str, frozenset[tuple[str, str]]], dict[str, float]] = field(default_factory=dict)

    @staticmethod
    def of(text: str) -> "Scrape":
        scrape = Scrape()
        own = {key for metric in TABLE for key in metric.tag_keys} | {"le"}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if "maskmill" in sample.name:
                    tags = frozenset((key, value) for key, value in sample.labels.items() if key in own)
                    scrape.values.setdefault((sample.name, tags), {})[sample.labels["WorkerId"]] = sample.value
        return scrape

    def values_of(self, name: str, **tags: str) -> list[float]:
        return sorted(self.values.get((name, frozenset(tags.items())), {}).values())

    def total(self, name: str, **tags: str) -> float:
        return sum(self.values_of(name, **tags))


@dataclass
class Agent:
    """The endpoint that Prometheus would scrape."""

    port: int

    def until(self, *conditions) -> Scrape:
        end = time.monotonic() + PATIENCE
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                scrape = Scrape.of(answer.read().decode())
            if all(condition(scrape) for condition in conditions):
                return scrape
            assert time.monotonic() < end, scrape.values
            time.sleep(0.1)


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    folder = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))  # sockets' paths are short
    before = dict(os.environ)
    os.environ["RAY_TMPDIR"] = str(folder)
    os.environ.pop("RAY_ADDRESS", None)
    ray.init(
        "local",
        num_cpus=3,
        num_gpus=0,
        include_dashboard=False,  # as in the program's own session
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _system_config={"metrics_report_interval_ms": 1000},
    )
    try:
        yield Agent(ray.nodes()[0]["MetricsExportPort"])
    finally:
        ray.shutdown()
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


class _Holder:
    """A replica as far as metrics go."""

    def __init__(self) -> None:
        self._metrics = ReplicaMetrics(refresh=0.3)

    def began(self) -> None:
        self._metrics.began()

    def ended(self, row: LedgerRow) -> None:
        self._metrics.ended(row)


@pytest.fixture(scope="module")
def replicas(agent):
    """Two replicas: one has ended three shards and works on a fourth, one waits."""
    actors = [ray.remote(num_cpus=0)(_Holder).remote() for _ in range(2)]
    for row in (DONE, CUT, STRANGE):
        ray.get([actors[0].began.remote(), actors[0].ended.remote(row)])
    ray.get(actors[0].began.remote())
    ray.get(actors[1].began.remote())
    ray.get(actors[1].ended.remote(DONE))
    return actors


@pytest.mark.slow
def test_the_agent_shows_every_metric_with_its_value_also_without_a_dashboard(agent, replicas):
    scrape = agent.until(
        lambda now: now.total("ray_maskmill_shards_total", state="done", reason="") == 2,
        lambda now: now.values_of("ray_maskmill_replicas", state="busy") == [0, 1],
        lambda now: now.values_of("ray_maskmill_shard_seconds_count", phase="publish") == [1, 1],
    )
    shown = {name for name, _ in scrape.values}
    assert shown - {"ray_maskmill_shard_seconds_sum"} == {name for metric in TABLE for name in metric.exported}
    assert scrape.values_of("ray_maskmill_images_total", state="labeled", reason="") == [8, 8]
    assert scrape.values_of("ray_maskmill_images_total", state="failed", reason="decode") == [2, 2]
    assert scrape.values_of("ray_maskmill_shards_total", state="failed", reason="truncated") == pytest.approx([0, 1])
    assert scrape.total("ray_maskmill_shards_total", state="failed", reason=OTHER) == 1
    assert scrape.total("ray_maskmill_segments_total") == 42
    assert scrape.total("ray_maskmill_read_bytes_total") == 2000
    assert scrape.total("ray_maskmill_written_bytes_total") == 600
    assert scrape.values_of("ray_maskmill_shards_in_flight") == [0, 1]
    assert scrape.values_of("ray_maskmill_replicas", state="idle") == [0, 1]
    for phase, seconds in SECONDS.items():
        assert scrape.total("ray_maskmill_phase_seconds_total", phase=phase) == pytest.approx(2 * seconds)
        for boundary in (*SHARD_SECONDS.boundaries, math.inf):
            le = "+Inf" if math.isinf(boundary) else str(float(boundary))
            within = 2 if seconds <= boundary else 0
            assert scrape.total("ray_maskmill_shard_seconds_bucket", phase=phase, le=le) == within, (phase, le)


@pytest.mark.slow
def test_every_counter_is_there_before_anything_was_counted(agent, replicas):
    scrape = agent.until(lambda now: len(now.values_of("ray_maskmill_segments_total")) == 2)
    for metric in TABLE:
        if metric.kind == "counter":
            for tags in metric.series:
                assert len(scrape.values_of(metric.exported[0], **tags)) == 2, (metric.name, tags)
    for reason in set(SHARD_REASONS) - {"truncated"}:
        assert scrape.total("ray_maskmill_shards_total", state="failed", reason=reason) == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
def test_no_shards_name_reaches_prometheus(agent, replicas):
    scrape = agent.until(lambda now: now.total("ray_maskmill_shards_total", state="done", reason="") == 2)
    known = {frozenset(tags.items()) for metric in TABLE for tags in metric.series}
    buckets = {"+Inf", *(str(float(boundary)) for boundary in SHARD_SECONDS.boundaries)}
    known |= {frozenset({**tags, "le": le}.items()) for tags, le in product(SHARD_SECONDS.series, buckets)}
    assert {tags for _, tags in scrape.values} <= known


@pytest.mark.slow
def test_what_the_driver_ends_itself_is_counted_by_the_driver(agent, replicas):
    crashed = LedgerRow(url="s3://bucket/d.tar", size=5, state="failed", error="crashed: each time")
    ShardMetrics().add(crashed)
    agent.until(lambda now: now.total("ray_maskmill_shards_total", state="failed", reason="crashed") == 1)


@pytest.mark.slow
def test_a_killed_replica_is_neither_busy_nor_idle_and_a_living_one_stays_shown(agent, replicas):
    busy, idle = REPLICAS.exported[0], SHARDS_IN_FLIGHT.exported[0]
    agent.until(lambda now: len(now.values_of(idle)) == 2)
    ray.kill(replicas[0])
    # Nothing is called on the other all the while: only setting its gauges again keeps them from being forgotten.
    scrape = agent.until(lambda now: len(now.values_of(idle)) == 1)
    assert scrape.values_of(busy, state="busy") == [0]
    assert scrape.values_of(busy, state="idle") == [1]
    assert scrape.total("ray_maskmill_shards_total", state="done", reason="") == 2, "what it counted stays"


@pytest.mark.slow
def test_a_replica_that_labels_shards_is_counted_and_logged(agent, scenes, tmp_path):
    ids = {worker for values in agent.until(lambda now: True).values.values() for worker in values}
    cut = tmp_path / "cut.tar"
    cut.write_bytes(scenes[1].read_bytes()[:20_000])
    shards = [describe(str(source)) for source in (scenes[0], cut)]
    config = replace(PLAIN, replica=ReplicaConfig(scratch=tmp_path), model=replace(PLAIN.model, device="cpu"))
    placement = Placement(least=1, most=1, cpus=1, gpus=0, batch_size=4)
    output, vocabulary = Output.of(str(tmp_path / "out")), Vocabulary.load("scenes")
    text = prepare(config, placement, output, vocabulary, load_templates(config.templates))
    spec = ReplicaSpec(
        config=config,
        placement=placement,
        output=output,
        vocabulary=vocabulary,
        text=text,
        fingerprint="f" * 64,
        stores=stores.used(),
    )
    replica = ray.remote(num_cpus=1)(Replica).remote(spec)
    done, failed = (ledger.from_table(ray.get(replica.__call__.remote(to_tasks([shard], {}))))[0] for shard in shards)
    assert (done.state, failed.reason) == ("done", "truncated")

    def mine(now: Scrape, name: str, **tags: str) -> float:
        values = now.values.get((name, frozenset(tags.items())), {})
        return sum(value for worker, value in values.items() if worker not in ids)

    now = agent.until(
        lambda now: mine(now, "ray_maskmill_shards_total", state="failed", reason="truncated") == 1,
        lambda now: mine(now, "ray_maskmill_replicas", state="idle") == 1,
    )
    assert mine(now, "ray_maskmill_shards_total", state="done", reason="") == 1
    assert mine(now, "ray_maskmill_images_total", state="labeled", reason="") == done.counts.labeled == 10
    assert mine(now, "ray_maskmill_segments_total") == done.counts.segments
    assert mine(now, "ray_maskmill_read_bytes_total") == done.size == scenes[0].stat().st_size
    assert mine(now, "ray_maskmill_written_bytes_total") == done.bytes
    assert mine(now, "ray_maskmill_phase_seconds_total", phase="model") == pytest.approx(done.seconds["model"])
    assert mine(now, "ray_maskmill_shards_in_flight") == 0

    folder = Path(ray._private.worker.global_worker.node.get_session_dir_path()) / "logs"
    text_lines = [line for file in folder.glob("worker-*.err") for line in file.read_text().splitlines()]
    logged = [json.loads(line) for line in text_lines if line.startswith("{")]
    by_shard = {
        shard.url: [(line["level"], line["message"], line["attempt"]) for line in logged if line["shard"] == shard.url]
        for shard in shards
    }
    begun = ("INFO", "labeling begins", 1)
    assert by_shard[shards[0].url] == [begun, ("INFO", "batches", 1), ("INFO", "done", 1)]
    assert by_shard[shards[1].url] == [begun, ("WARNING", f"failed: {failed.error}", 1)]
