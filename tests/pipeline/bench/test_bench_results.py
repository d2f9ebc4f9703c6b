"""A bench as JSON and back, as a table, and beside another."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline.bench.results import Bench, Feeding, FloorRow, MixBatches, ReplicaPeak, Row
from maskmill.pipeline.bench.table import compared, lines

ROW = Row(part="model", images=8, seconds=2.0, low=1.9, high=2.2, runs=5, gmac=63.2, utilisation=0.5)
BENCH = Bench(
    machine={"processor": "made up", "cores": 4, "load": 0.5, "gpu": None},
    versions={"torch": "2.15.0"},
    settings={"model": "san-vit-b16", "weights": "random", "device": "cpu", "dtype": "float32", "threads": 4},
    notes=("weights are random",),
    floor=(FloorRow(name="product", device="cpu", rate=4e11, seconds=0.04, low=0.04, high=0.05, runs=9),),
    rows=(ROW, Row(part="read", images=32, seconds=0.1, low=0.1, high=0.1, runs=3, bytes_read=8_000_000)),
    feeding=Feeding(per_core=100.0, model_rate=4.0, model_cores=0.04, gpu_rate=2000.0, gpu_cores=20.0),
    replicas=(
        ReplicaPeak(samples=1000, peak_bytes=900_000_000, device_bytes=None),
        ReplicaPeak(samples=10_000, peak_bytes=910_000_000, device_bytes=None, arrow_bytes=70_000_000),
    ),
    mixes=(
        MixBatches(
            samples=1000,
            batch_size=8,
            sizes=60,
            batches=200,
            padding=0.01,
            early=0.02,
            last=0.15,
            empty=0.25,
            waiting_bytes=250_000_000,
        ),
    ),
)


def written(folder: Path, text: str) -> Path:
    path = folder / "bench.json"
    path.write_text(text)
    return path


def test_json_holds_all_of_a_bench(tmp_path: Path) -> None:
    assert Bench.read(written(tmp_path, BENCH.to_json()), "--bench") == BENCH


def test_a_file_from_before_there_were_mixes_is_read(tmp_path: Path) -> None:
    data = json.loads(BENCH.to_json())
    del data["mixes"]
    for replica in data["replicas"]:
        del replica["arrow_bytes"]
    assert Bench.read(written(tmp_path, json.dumps(data)), "--bench").mixes == ()


def test_json_tells_the_rates_for_those_who_read_no_python() -> None:
    assert json.loads(BENCH.to_json())["rows"][0]["images_per_second"] == 4.0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not JSON"),
        ("[1, 2", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "format"),
        ('{"format": 99}', "format"),
        ('{"format": 1}', "rows"),
        (BENCH.to_json().replace('"seconds": 2.0', '"seconds": 0'), "above 0"),
        (BENCH.to_json().replace('"seconds": 2.0', '"seconds": NaN'), "above 0"),
        (BENCH.to_json().replace('"seconds": 2.0', '"seconds": "2"'), "above 0"),
        (BENCH.to_json().replace('"part": "model"', '"parts": "model"'), "parts"),
        (BENCH.to_json().replace('"per_core": 100.0', '"per_core": -1'), "above 0"),
    ],
)
def test_what_is_no_bench_is_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as refused:
        Bench.read(path, "--compare")
    said = str(refused.value)
    assert f"--compare {str(path)!r}" in said
    assert told in said
    assert "\n" not in said


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read"):
        Bench.read(tmp_path / "none.json", "--bench")


def test_the_table_tells_machine_settings_floor_parts_feeding_and_memory() -> None:
    told = "\n".join(lines(BENCH))
    for text in (
        "made up, 4 cores",
        "random weights",
        "note      weights are random",
        "product (cpu)",
        "GFLOP/s",
        "63.20",
        "50%",
        "80.0 MB/s in",
        "100.0 images/s a core",
        "20.0 cores for a GPU of 2,000 images/s (assumed)",
        "10,000 samples: 910 MB, 70 MB of it the row group",
        "+10 MB from 1,000 to 10,000 samples",
        "1,000 samples, batch 8: 1.0% of pixels are padding",
        "2.0% of images before the end, 15.0% at the end; 60 sizes, 200 batches, 25% empty places, 250 MB waited",
    ):
        assert text in told


def test_columns_are_aligned() -> None:
    table = [line for line in lines(BENCH) if line.startswith(("part", "product", "model ", "read"))]
    ends = {
        line.index(word) + len(word) for line, word in zip(table, ("images/s", "400.0", "4.00", "320"), strict=True)
    }
    assert len(ends) == 1


def test_two_benches_are_told_by_ratio_and_by_what_differs() -> None:
    faster = replace(
        BENCH,
        settings={**BENCH.settings, "dtype": "bfloat16"},
        rows=(replace(ROW, seconds=1.0, low=0.9, high=1.1), replace(BENCH.rows[1], seconds=0.101)),
    )
    told = compared(BENCH, faster, ("a.json", "b.json"))
    assert told[0] == "setting dtype: float32 | bfloat16"
    model = next(line for line in told if line.startswith("model"))
    assert "2.00x" in model
    assert "within spread" not in model
    read = next(line for line in told if line.startswith("read"))
    assert "0.99x" in read


def test_a_difference_within_the_spread_is_said_to_be() -> None:
    slower = replace(BENCH, rows=(replace(ROW, seconds=2.1, low=2.0, high=2.3),))
    model = next(line for line in compared(BENCH, slower, ("a", "b")) if line.startswith("model"))
    assert model.endswith("within spread")


def test_benches_without_a_common_part_say_so() -> None:
    empty = replace(BENCH, rows=(), floor=())
    assert compared(BENCH, empty, ("a", "b")) == ["nothing that both measured"]
