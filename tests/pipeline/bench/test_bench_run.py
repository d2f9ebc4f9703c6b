"""A whole bench with a small model and few samples: every group, made-up and given shards. No time is asserted."""

import json
from pathlib import Path

import pytest

from maskmill.jobs import cli
from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline.bench.config import BenchConfig
from maskmill.pipeline.bench.run import bench, busy
from tests.plain_run import write_tar

SMALL = {
    "model": "san-tiny",
    "device": "cpu",
    "threads": 1,
    "size": 64,
    "batch_size": 2,
    "samples": 4,
    "repeats": 3,
    "image": "96x64",
}


@pytest.mark.slow
def test_stages_shards_and_feeding_are_measured_over_made_up_shards(tmp_path: Path) -> None:
    found = bench(BenchConfig(**SMALL, parts=("stages", "shard", "feeding"), scratch=tmp_path))
    parts = [row.part for row in found.rows]
    assert parts == [
        "read", "decode", "resize", "write", "publish", "model at shard's size", "shard", "feeding",
    ]  # fmt: skip
    assert all(row.runs >= 3 for row in found.rows)
    whole = found.row("shard")
    assert whole is not None
    assert whole.images == 8
    assert whole.bytes_read
    assert whole.bytes_written
    assert "2 shards" in whole.note
    assert whole.share is not None
    assert whole.share > 0
    assert whole.around is not None
    assert f"{whole.share:.0%} of the model alone; " in whole.note
    assert f"the rest took {whole.around:.0%} of the CPUs; " in whole.note
    assert "0.0% padding, 0% of images in batches that aren't full; batches: 4 of 96 x 64" in whole.note
    assert [mix.samples for mix in found.mixes] == [1_000, 10_000]
    assert found.feeding is not None
    assert found.feeding.model_cores == pytest.approx(found.feeding.model_rate / found.feeding.per_core)
    assert found.feeding.gpu_cores == pytest.approx(2000 / found.feeding.per_core)
    assert (found.settings["batch_size"], found.settings["size"], found.settings["device"]) == (2, 64, "cpu")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_model_and_its_parts_are_told_with_their_multiplications(tmp_path: Path) -> None:
    found = bench(BenchConfig(**SMALL, weights="random", names=20, parts=("model", "parts"), scratch=tmp_path))
    assert [row.part for row in found.rows][:4] == ["model", "model + segments", "input", "CLIP shallow"]
    counted = {row.part: row.gmac for row in found.rows if row.gmac}
    parts = ("CLIP shallow", "side ViT", "mask decoder", "recognition", "classifier")
    assert sum(counted[part] for part in parts) == pytest.approx(counted["model"])
    assert all(row.utilisation is None for row in found.rows)
    assert "10.0 segments an image" in found.rows[1].note
    assert found.feeding is None


@pytest.mark.slow
def test_a_compiled_model_is_measured_with_its_parts_and_shards(tmp_path: Path) -> None:
    groups = ("model", "parts", "shard")
    compiled = bench(BenchConfig(**SMALL, compile=True, parts=groups, scratch=tmp_path))
    plain = bench(BenchConfig(**SMALL, parts=groups, scratch=tmp_path))
    assert [row.part for row in compiled.rows] == [row.part for row in plain.rows]
    assert any(note.startswith("compiled for full batches of 2 sizes") for note in compiled.notes)
    assert (compiled.settings["compile"], plain.settings["compile"]) == (True, False)


@pytest.mark.slow
def test_windows_are_measured_beside_the_model_without_them(tmp_path: Path) -> None:
    small = {**SMALL, "image": "160x120"}
    found = bench(BenchConfig(**small, windows=2.0, parts=("model", "shard"), scratch=tmp_path))
    assert [row.part for row in found.rows] == [
        "model", "model + segments", "model + windows", "model at shard's size", "windows at shard's size", "shard",
    ]  # fmt: skip
    whole, windows, shaped = (found.row(part) for part in ("model", "model + windows", "windows at shard's size"))
    assert whole is not None
    assert windows is not None
    assert shaped is not None
    assert windows.gmac == pytest.approx(9 * whole.gmac)
    assert "9 windows an image, 9.0x" in windows.note
    assert "12 windows an image" in shaped.note  # 120 x 160, which 128 x 171 would exceed: 3 x 4 windows of 64
    assert (windows.images, whole.images) == (1, 2)
    assert found.settings["windows"] == 2.0


@pytest.mark.slow
def test_agreement_is_measured_beside_the_model_without_it(tmp_path: Path) -> None:
    found = bench(BenchConfig(**SMALL, agreement="scale,flip", parts=("model",), scratch=tmp_path))
    assert [row.part for row in found.rows] == [
        "model", "model + segments", "agreement flip", "agreement scale", "agreement flip,scale",
    ]  # fmt: skip
    without = found.row("model + segments")
    assert without is not None
    for row in found.rows[2:]:
        assert f"{row.seconds / without.seconds:.2f} times `model + segments`" in row.note
    one = bench(BenchConfig(**SMALL, agreement="flip", parts=("model",), scratch=tmp_path))
    assert [row.part for row in one.rows][2:] == ["agreement flip"]


@pytest.mark.slow
def test_shards_of_many_sizes_are_made_up_where_a_mix_is_asked_for(tmp_path: Path) -> None:
    found = bench(BenchConfig(**{**SMALL, "image": "mix"}, parts=("shard",), scratch=tmp_path))
    assert [(row.part, row.images) for row in found.rows] == [("shard", 8)]
    assert found.settings["image"] == "mix"
    assert ", 0% of images in batches" not in found.rows[0].note
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_user_s_shards_are_measured_and_left_alone(tmp_path: Path, scenes: list[Path]) -> None:
    before = [path.read_bytes() for path in scenes]
    (tmp_path / "scratch").mkdir()
    config = BenchConfig(**{**SMALL, "samples": None}, parts=("shard",), scratch=tmp_path / "scratch")
    found = bench(config, [str(path) for path in scenes])
    assert [(row.part, row.images) for row in found.rows] == [("shard", 20)]
    assert [path.read_bytes() for path in scenes] == before


@pytest.mark.parametrize("part", ["stages", "shard"])
def test_a_shard_that_can_t_be_read_ends_the_bench_in_one_line(tmp_path: Path, part) -> None:
    broken = write_tar(tmp_path / "broken.tar", {"a.jpg": b"no jpeg"})
    with pytest.raises(EnvironmentFailure, match=r"broken\.tar") as ended:
        bench(BenchConfig(**SMALL, parts=(part,), scratch=tmp_path), [str(broken)])
    assert "\n" not in str(ended.value)


@pytest.mark.parametrize(("load", "warned"), [(0.3, False), (6.0, True), (None, False)])
def test_a_bench_on_a_busy_machine_says_so(load: float | None, warned: bool) -> None:
    assert bool(busy({"load": load, "cores": 4})) is warned


def test_scratch_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--scratch"):
        bench(BenchConfig(**SMALL, scratch=tmp_path / "none"))


def test_the_command_writes_json_and_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = tmp_path / "profile.txt"
    words = [
        "bench",
        "--profile",
        str(profile),
        "--model",
        "san-tiny",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--size",
        "64",
        "--batch-size",
        "2",
    ]
    out = tmp_path / "a.json"
    assert cli.run([*words, "--parts", "model", "--repeats", "3", "--scratch", str(tmp_path), "-o", str(out)]) == 0
    told = capsys.readouterr()
    assert "model + segments" in told.out
    assert "measuring: model" in told.err
    assert "aten::" in profile.read_text()
    assert json.loads(out.read_text())["settings"]["parts"] == ["model"]
    assert cli.run(["bench", "--compare", str(out), str(out)]) == 0
    assert "1.00x" in capsys.readouterr().out


@pytest.mark.slow
def test_every_group_and_the_memory_of_replicas(tmp_path: Path) -> None:
    found = bench(BenchConfig(**SMALL, shard_sizes=(8, 64), scratch=tmp_path))
    assert [(row.name, row.device) for row in found.floor] == [("product", "cpu"), ("copy", "cpu")]
    model = found.row("model")
    assert model is not None
    assert model.utilisation is not None
    assert 0 < model.utilisation < 1.5
    assert found.row("recognition") is not None
    assert [replica.samples for replica in found.replicas] == [8, 64]
    assert all(replica.peak_bytes > 1e8 for replica in found.replicas)
