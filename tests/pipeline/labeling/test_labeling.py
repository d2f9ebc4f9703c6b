"""Labeling one shard, without Ray: rows in shard order that are a function of its bytes and the run, and no other."""

import hashlib
import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco

from maskmill.models.resize import ImageBatch
from maskmill.models.segment import Segment
from maskmill.models.segmenter import ClassFeatures, Segmenter
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.config import InferenceConfig, JobConfig, LabelConfig, ReplicaConfig
from maskmill.pipeline.labeling.labeling import label_shard
from maskmill.pipeline.labeling.model_thread import DeviceLostError
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.shards.shard import Shard, describe_many
from maskmill.pipeline.synthesis.scene import scene
from maskmill.pipeline.table.footer import check_file
from maskmill.pipeline.table.schema import LABELS
from tests.hostile import early_end
from tests.plain_run import MANY_SEGMENTS, PLAIN, label_one, labeler, table_of, write_tar


def picture(size: tuple[int, int] = (128, 128), seed: int = 0) -> Image.Image:
    """A scene, resized to a height and width."""
    return Image.fromarray(scene(7, seed).image).resize(size[::-1])


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def labeled(tiny, scenes, tmp_path_factory):
    """One shard of ten scenes, labeled: row of the ledger, table."""
    return label_one(tiny, scenes[0], tmp_path_factory.mktemp("labeled"))


def segments_of(table: pa.Table) -> list[list[dict]]:
    return table["segments"].to_pylist()


def average(table: pa.Table) -> float:
    return float(np.mean([len(found) for found in segments_of(table)]))


def masks_of(row: dict) -> list[np.ndarray]:
    size = [row["mask_height"], row["mask_width"]]
    return [coco.decode({"size": size, "counts": mask}).astype(bool) for mask in row["masks"]]


# --- what is written -------------------------------------------------------------------------------------------------


def test_a_shard_becomes_one_row_a_sample_in_shard_order(labeled, scenes):
    row, table = labeled
    assert (row.state, row.error, row.attempts) == ("done", None, 1)
    assert table.schema.equals(LABELS)
    assert table["sample_index"].to_pylist() == list(range(10))
    assert table["key"].to_pylist() == [f"{index:09d}" for index in range(10)]
    assert set(table["shard"].to_pylist()) == {str(scenes[0])}
    assert set(table["status"].to_pylist()) == {"ok"}
    assert average(table) >= 3


def test_captions_and_digests_are_those_of_the_members(labeled, scenes):
    import tarfile

    with tarfile.open(scenes[0]) as archive:
        members = {name: archive.extractfile(name).read() for name in archive.getnames()}
    for one in labeled[1].to_pylist():
        assert one["sha256"] == hashlib.sha256(members[one["key"] + ".jpg"]).digest()
        assert one["caption"] == members[one["key"] + ".txt"].decode()
        assert one["candidates"] is None
        assert one["warnings"] == []


def test_the_ledger_counts_what_the_table_holds(labeled):
    row, table = labeled
    found = [segment["vocab_id"] for segments in segments_of(table) for segment in segments]
    assert (row.counts.read, row.counts.labeled, row.counts.failed) == (10, 10, {})
    assert row.counts.segments == len(found)
    assert {c.vocab_id: c.segments for c in row.counts.classes} == {i: found.count(i) for i in set(found)}
    assert all(seconds >= 0 for seconds in row.seconds.values())


def test_segments_of_general_form_do_not_overlap(labeled):
    for row in labeled[1].to_pylist():
        assert sum(mask.astype(int) for mask in masks_of(row)).max() <= 1


def test_images_of_all_kinds_and_sizes_share_a_shard(tiny, tmp_path):
    turned = picture((60, 100))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    shard = write_tar(
        tmp_path / "mix.tar",
        {
            "a.jpg": encoded(picture()),
            "b.png": encoded(picture((64, 200)), "PNG"),
            "c.jpg": encoded(turned, exif=exif),
            "d.webp": encoded(picture((300, 90)), "WEBP"),
            "e.png": encoded(picture().convert("L"), "PNG"),
            "f.jpg": encoded(picture((1, 1))),
            "g.jpg": encoded(picture((128, 128), 1)),
        },
    )
    config = replace(PLAIN, inference=replace(MANY_SEGMENTS, mask_side=150))
    row, table = label_one(tiny, shard, tmp_path / "out", config, batch_size=3)
    assert row.counts.labeled == 7
    rows = table.to_pylist()
    assert [one["key"] for one in rows] == list("abcdefg")
    sizes = [(one["height"], one["width"]) for one in rows]
    assert sizes == [(128, 128), (64, 200), (100, 60), (300, 90), (128, 128), (1, 1), (128, 128)]
    masks = [(one["mask_height"], one["mask_width"]) for one in rows]
    assert masks == [(128, 128), (48, 150), (100, 60), (150, 45), (128, 128), (1, 1), (128, 128)]
    for one in rows:
        for mask, segment in zip(masks_of(one), one["segments"], strict=True):
            assert mask.shape == (one["mask_height"], one["mask_width"])
            assert mask.sum() == segment["area"]


def test_failed_samples_are_rows_among_the_others(tiny, tmp_path):
    good = encoded(picture())
    shard = write_tar(
        tmp_path / "some.tar",
        {
            "a.jpg": good,
            "b.jpg": early_end(good),
            "c.txt": b"no image",
            "d.jpg": b"",
            "e.jpg": good,
            "f.png": encoded(picture((600, 600)), "PNG"),
            "g.jpg": good,
            "h.jpg": good,
        },
    )
    config = replace(PLAIN, limits=ReadLimits(max_pixels=300_000))
    row, table = label_one(tiny, shard, tmp_path / "out", config)
    assert row.state == "done"
    assert row.counts.failed == {"empty": 1, "missing_image": 1, "too_large": 1, "truncated": 1}
    assert row.counts.read == row.counts.labeled + 4 == 8
    rows = table.to_pylist()
    reasons = [one["error"] and one["error"].partition(":")[0] for one in rows]
    assert reasons == [None, "truncated", "missing_image", "empty", None, "too_large", None, None]
    assert [one["status"] for one in rows] == ["failed" if reason else "ok" for reason in reasons]
    for one in rows:
        assert (one["segments"] is None) == (one["masks"] is None) == (one["status"] == "failed")
    # What is known of a failed sample is told: its bytes are hashed where it has some.
    assert rows[1]["sha256"] == hashlib.sha256(early_end(good)).digest()
    assert rows[2]["sha256"] is None


def test_soft_masks_are_the_masks_before_they_were_cut(tiny, scenes, tmp_path):
    """A pixel between four positive logits is in the mask, one between four negative logits is not."""
    form = replace(MANY_SEGMENTS, inference="queries", soft_masks=True)
    _, table = label_one(tiny, scenes[0], tmp_path, replace(PLAIN, inference=form))
    inside = outside = 0
    for row in table.to_pylist():
        for mask, logits in zip(masks_of(row), row["mask_logits"], strict=True):
            grid = np.frombuffer(logits, np.int8).reshape(row["logit_height"], row["logit_width"])
            assert grid.min() >= -127
            (top, bottom), (left, right) = (around(n, cells) for n, cells in zip(mask.shape, grid.shape, strict=True))
            four = np.stack([grid[np.ix_(ys, xs)] for ys in (top, bottom) for xs in (left, right)])
            assert mask[(four > 0).all(0)].all()
            assert not mask[(four < 0).all(0)].any()
            inside += int((four > 0).all(0).sum())
            outside += int((four < 0).all(0).sum())
    # Untrained masks are grains of a cell or two: few pixels stand between four cells of one.
    assert inside > 0
    assert outside > 1_000


def around(pixels: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The cells before and after each pixel's centre, where `cells` cells span `pixels` pixels."""
    before = np.floor((np.arange(pixels) + 0.5) * cells / pixels - 0.5).astype(int)
    return before.clip(0, cells - 1), (before + 1).clip(0, cells - 1)


@pytest.mark.parametrize("form", ["semantic", "queries"])
def test_the_other_forms_write_the_same_columns(tiny, scenes, tmp_path, form):
    _, table = label_one(tiny, scenes[0], tmp_path, replace(PLAIN, inference=replace(MANY_SEGMENTS, inference=form)))
    assert table.schema.equals(LABELS)
    assert average(table) >= 3
    for row in table.to_pylist():
        overlap = sum(mask.astype(int) for mask in masks_of(row))
        if form == "semantic":
            assert (overlap == 1).all()
            assert {segment["query"] for segment in row["segments"]} == {-1}
            ids = [segment["vocab_id"] for segment in row["segments"]]
            assert ids == sorted(set(ids))
            assert all(segment["kept"] is segment["stability"] is None for segment in row["segments"])
        else:
            queries = [segment["query"] for segment in row["segments"]]
            assert queries == sorted(set(queries))
            assert {segment["kept"] for segment in row["segments"]} == {1.0}


# --- the same labels -------------------------------------------------------------------------------------------------


def test_labeling_twice_gives_equal_tables_whatever_else_is_going_on(tiny, scenes, labeled, tmp_path):
    """Threads that decode, scratch, output and a second shard in flight change nothing."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    config = replace(PLAIN, replica=ReplicaConfig(scratch=scratch, replicas="3"))
    output = Output.of(str(tmp_path / "out"))
    shards = describe_many([str(path) for path in scenes])
    from concurrent.futures import ThreadPoolExecutor

    with labeler(tiny, output, config, threads=4) as replica, ThreadPoolExecutor(2) as calls:
        rows = list(calls.map(lambda shard: label_shard(shard, replica), shards))
    assert [row.state for row in rows] == ["done", "done"]
    assert table_of(output, shards[0]).equals(labeled[1])
    assert rows[0].counts == labeled[0].counts
    assert list(scratch.iterdir()) == []


def test_a_neighbour_of_noise_changes_no_other_row(tiny, scenes, labeled, tmp_path):
    import tarfile

    with tarfile.open(scenes[0]) as archive:
        members = {name: archive.extractfile(name).read() for name in archive.getnames()}
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    members["000000004.jpg"] = encoded(Image.fromarray(noise))
    _, table = label_one(tiny, write_tar(tmp_path / "noise.tar", members), tmp_path / "out")
    others = [index for index in range(10) if index != 4]
    kept = ["sample_index", "sha256", "segments", "masks"]
    assert table.select(kept).take(others).equals(labeled[1].select(kept).take(others))
    assert not table.select(kept).take([4]).equals(labeled[1].select(kept).take([4]))


def test_another_batch_size_gives_the_same_segments(tiny, scenes, tmp_path):
    tables = [label_one(tiny, scenes[0], tmp_path / str(size), batch_size=size)[1] for size in (1, 8)]
    one, eight = (table.to_pylist() for table in tables)
    assert average(tables[0]) >= 3
    for mine, theirs in zip(one, eight, strict=True):
        assert [s["query"] for s in mine["segments"]] == [s["query"] for s in theirs["segments"]]
        for a, b in zip(mine["segments"], theirs["segments"], strict=True):
            assert a["vocab_id"] == b["vocab_id"]
            np.testing.assert_allclose(a["top_logits"], b["top_logits"], rtol=1e-5, atol=1e-4)
            assert a["score"] == pytest.approx(b["score"], abs=1e-4)
        for a, b in zip(masks_of(mine), masks_of(theirs), strict=True):
            # A pixel at which two queries are within rounding of each other may change hands.
            assert (a ^ b).sum() <= max(1, 0.001 * (a | b).sum())


# --- shards that fail ------------------------------------------------------------------------------------------------


def broken_shard(path: Path, broken: int, sound: int) -> Path:
    good = encoded(picture())
    bodies = [early_end(good)] * broken + [good] * sound
    return write_tar(path, {f"{index}.jpg": body for index, body in enumerate(bodies)})


def record_of(output: Output, shard: Shard) -> dict | None:
    path = Path(output.failed(shard.label_name))
    return json.loads(path.read_text()) if path.exists() else None


def test_too_many_failed_samples_fail_the_shard_and_the_record_goes_once_it_is_done(tiny, tmp_path):
    path = broken_shard(tmp_path / "a.tar", 3, 2)
    output = Output.of(str(tmp_path / "out"))
    shard = describe_many([str(path)])[0]
    with labeler(tiny, output) as replica:
        first, second = label_shard(shard, replica), label_shard(shard, replica)
    assert (first.state, first.reason, first.attempts) == ("failed", "too_many_failed", 1)
    assert first.error is not None
    assert first.error.startswith("too_many_failed: 3 of 5 samples (truncated 3), as '0': truncated: ")
    assert (first.counts.read, first.counts.failed) == (5, {"truncated": 3})
    assert (second.state, second.attempts) == ("failed", 2)
    record = record_of(output, shard)
    assert (record["attempts"], record["read"], record["labeled"], record["failed"]) == (2, 5, 2, 3)
    assert [(one["key"], one["sample_index"], one["members"]) for one in record["failed_samples"]] == [
        (str(number), number, ["jpg"]) for number in range(3)
    ]
    assert all(one["error"].startswith("truncated: ") for one in record["failed_samples"])
    assert record["error"] == first.error
    assert output.done() == set()

    lenient = replace(PLAIN, job=JobConfig(max_failed_samples=0.6))
    with labeler(tiny, output, lenient) as replica:
        third = label_shard(shard, replica)
    assert (third.state, third.attempts) == ("done", 3)
    assert record_of(output, shard) is None
    assert output.done() == {shard.label_name}


def test_half_the_samples_may_fail(tiny, tmp_path):
    assert label_one(tiny, broken_shard(tmp_path / "a.tar", 2, 2), tmp_path / "out")[0].state == "done"


def test_a_shard_without_samples_is_done(tiny, tmp_path):
    row, table = label_one(tiny, write_tar(tmp_path / "a.tar", {}), tmp_path / "out")
    assert (row.state, row.counts.read, table.num_rows) == ("done", 0, 0)


def test_a_shard_that_vanished_is_a_failed_shard(tiny, tmp_path):
    path = broken_shard(tmp_path / "a.tar", 0, 1)
    output = Output.of(str(tmp_path / "out"))
    shard, never = describe_many([str(path), str(tmp_path / "never.tar")])
    path.unlink()
    with labeler(tiny, output) as replica:
        rows = [label_shard(shard, replica), label_shard(never, replica)]
    assert [(row.state, row.reason) for row in rows] == [("failed", "missing")] * 2
    assert output.failures() == {shard.label_name, never.label_name}


def test_a_shard_that_changed_since_it_was_listed_is_a_failed_shard(tiny, tmp_path):
    path = broken_shard(tmp_path / "a.tar", 0, 1)
    shard = describe_many([str(path)])[0]
    broken_shard(path, 0, 2)
    with labeler(tiny, Output.of(str(tmp_path / "out"))) as replica:
        assert label_shard(shard, replica).reason == "changed"


def test_a_damaged_record_of_an_earlier_failure_does_not_stop_the_job(tiny, tmp_path):
    path = broken_shard(tmp_path / "a.tar", 3, 0)
    output = Output.of(str(tmp_path / "out"))
    shard = describe_many([str(path)])[0]
    record = Path(output.failed(shard.label_name))
    record.parent.mkdir(parents=True)
    for damage in ("{", "[]", '{"attempts": "many"}', "{}"):
        record.write_text(damage)
        with labeler(tiny, output) as replica:
            assert label_shard(shard, replica).reason == "too_many_failed"


def test_a_place_that_cannot_be_written_fails_the_shard_and_says_so(tiny, scenes, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "labels").write_text("a file where a folder should be")
    row, _ = label_one(tiny, scenes[0], out)
    assert (row.state, row.reason) == ("failed", "publish")
    assert str(out / "labels") in row.error


def test_scratch_that_is_not_there_is_no_fault_of_the_shards(tiny, scenes, tmp_path):
    config = replace(PLAIN, replica=ReplicaConfig(scratch=tmp_path / "nowhere"))
    row, _ = label_one(tiny, scenes[0], tmp_path / "out", config)
    assert (row.state, row.reason) == ("failed", "disk")
    assert str(tmp_path / "nowhere") in row.error


def test_nothing_is_left_on_scratch_whether_a_shard_is_done_or_fails(tiny, scenes, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    config = replace(PLAIN, replica=ReplicaConfig(scratch=scratch))
    bad = tmp_path / "bad.tar"
    bad.write_bytes(scenes[0].read_bytes()[:20_000])
    for path in (scenes[0], bad, broken_shard(tmp_path / "a.tar", 3, 0)):
        label_one(tiny, path, tmp_path / "out", config)
    assert list(scratch.iterdir()) == []


def test_a_shard_in_a_store_is_labeled_into_a_store_and_leaves_no_copy(tiny, scenes, labeled, tmp_path):
    """memory:// has no folders and no renames, as an object store."""
    import fsspec

    from maskmill.pipeline.stores.publish import read_bytes

    scratch, store = tmp_path / "scratch", f"memory://{tmp_path.name}"
    scratch.mkdir()
    fsspec.filesystem("memory").pipe_file(f"/{tmp_path.name}/in/a.tar", scenes[0].read_bytes())
    output = Output.of(f"{store}/out")
    (shard,) = describe_many([f"{store}/in/a.tar"])
    with labeler(tiny, output, replace(PLAIN, replica=ReplicaConfig(scratch=scratch))) as replica:
        row = label_shard(shard, replica)
    assert row.state == "done"
    table = pq.read_table(io.BytesIO(read_bytes(output.label(shard.label_name))))
    assert table.drop_columns("shard").equals(labeled[1].drop_columns("shard"))
    assert list(scratch.iterdir()) == []


class Faulty(Segmenter):
    """Stands in for a device that fails: out of memory for a nearly black image, an error for a nearly white one."""

    name, weights = "stand-in", ""
    forms = ("general",)

    def __init__(self, sound: Segmenter) -> None:
        self._sound = sound
        self.rule, self.device = sound.rule, sound.device

    def encode_text(self, vocabulary, templates):
        return self._sound.encode_text(vocabulary, templates)

    def segment(
        self, batch: ImageBatch, classes: ClassFeatures, inference, *, top_k=5, soft_masks=False
    ) -> list[list[Segment] | None]:
        import torch

        means = batch.pixels.float().mean((1, 2, 3))
        if (means < 10).any():
            raise torch.OutOfMemoryError("CUDA out of memory")
        if (means > 245).any():
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return self._sound.segment(batch, classes, inference, top_k=top_k, soft_masks=soft_masks)


def shades(*levels: int) -> Iterator[tuple[str, bytes]]:
    for index, level in enumerate(levels):
        image = picture((128, 128), index) if level == 128 else Image.new("RGB", (128, 128), (level,) * 3)
        yield f"{index}.jpg", encoded(image)


def test_an_image_that_does_not_fit_the_device_is_one_failed_row(tiny, tmp_path):
    path = write_tar(tmp_path / "a.tar", dict(shades(128, 128, 0, 128, 128)))
    row, table = label_one(Faulty(tiny), path, tmp_path / "out", batch_size=5)
    assert (row.state, row.counts.failed) == ("done", {"out_of_memory": 1})
    assert table["status"].to_pylist() == ["ok", "ok", "failed", "ok", "ok"]
    assert average(table.filter(pa.compute.equal(table["status"], "ok"))) >= 3


def test_an_error_of_the_device_fails_its_shard_and_no_sample(tiny, tmp_path):
    """The next shard of the process is not to blame: it gets no record, and whoever holds the process has to end it."""
    broken = write_tar(tmp_path / "a.tar", dict(shades(128, 255, 128)))
    sound = write_tar(tmp_path / "b.tar", dict(shades(128, 128)))
    output = Output.of(str(tmp_path / "out"))
    guilty, innocent = describe_many([str(broken), str(sound)])
    with labeler(Faulty(tiny), output) as replica:
        row = label_shard(guilty, replica)
        with pytest.raises(DeviceLostError):
            label_shard(innocent, replica)
    assert (row.state, row.reason, row.counts.failed) == ("failed", "device", {})
    assert output.failures() == {guilty.label_name}


# --- attempts, and two who label one shard ---------------------------------------------------------------------------


def test_an_attempt_that_was_counted_elsewhere_is_told_as_it_was_counted(tiny, scenes, tmp_path):
    """A replica that was killed left no record: only who sent the shard knows."""
    output = Output.of(str(tmp_path / "out"))
    shard, never = describe_many([str(scenes[0]), str(tmp_path / "never.tar")])
    with labeler(tiny, output) as replica:
        assert label_shard(never, replica, attempt=4).attempts == 4
        assert label_shard(never, replica).attempts == 5
        assert label_shard(shard, replica, attempt=3).attempts == 3
    assert record_of(output, never)["attempts"] == 5


def test_a_shard_that_another_replica_published_is_done_with_what_stands_there(tiny, scenes, tmp_path):
    output = Output.of(str(tmp_path / "out"))
    shard = describe_many([str(scenes[0])])[0]
    with labeler(tiny, output) as replica:
        first = label_shard(shard, replica)
        written = Path(output.label(shard.label_name)).stat()
        second = label_shard(shard, replica, attempt=2)
    assert (second.state, second.counts, second.bytes, second.attempts) == ("done", first.counts, first.bytes, 2)
    assert second.label_file == first.label_file
    now = Path(output.label(shard.label_name)).stat()
    assert (now.st_ino, now.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_a_shard_to_be_replaced_gets_a_new_label_file(tiny, scenes, tmp_path):
    output = Output.of(str(tmp_path / "out"))
    shard = describe_many([str(scenes[0])])[0]
    with labeler(tiny, output, fingerprint="1") as replica:
        label_shard(shard, replica)
    with labeler(tiny, output, fingerprint="2") as replica:
        assert label_shard(replace(shard, replace=True), replica).state == "done"
    assert check_file(Path(output.label(shard.label_name))).fingerprint == "2"


@pytest.mark.parametrize("what", ["another run's", "rubbish"])
def test_what_stands_at_the_place_of_a_label_file_and_is_none_is_not_taken_for_one(tiny, scenes, tmp_path, what):
    output = Output.of(str(tmp_path / "out"))
    shard = describe_many([str(scenes[0])])[0]
    with labeler(tiny, output, fingerprint="1") as replica:
        label_shard(shard, replica)
    if what == "rubbish":
        Path(output.label(shard.label_name)).write_bytes(b"PAR1")
    with labeler(tiny, output, fingerprint="2") as replica:
        row = label_shard(shard, replica)
    assert (row.state, row.reason) == ("failed", "publish" if what == "rubbish" else "other_run")
    assert ("stands there already" if what == "rubbish" else "was made by run 1, this is 2. Remove it") in row.error


def test_whoever_watches_hears_of_every_step(tiny, scenes, tmp_path):
    heard = []
    output = Output.of(str(tmp_path / "out"))
    with labeler(tiny, output, batch_size=2) as replica:
        label_shard(describe_many([str(scenes[0])])[0], replace(replica, alive=lambda: heard.append(1)))
    assert len(heard) >= 10 + 5 + 1, "ten samples, five batches, one file"


def test_what_became_of_a_shard_s_batches_is_logged(tiny, tmp_path, caplog):
    names = {f"{i}.png": encoded(picture((128, 128) if i else (128, 181)), "PNG") for i in range(6)}
    with caplog.at_level("INFO", logger="maskmill.pipeline.labeling.labeling"):
        label_one(tiny, write_tar(tmp_path / "a.tar", names), tmp_path / "out", batch_size=4)
    (record,) = [record for record in caplog.records if record.message == "batches"]
    assert record.fields == {
        "batches": 3, "short_batches": 2, "short_images": 2, "early_batches": 0, "early_images": 0, "sizes": 2,
        "padding": round(11 / (5 * 128 + 192), 4), "waiting_bytes": 3 * (3 * 128 * 128 + 128 * 181),
    }  # fmt: skip


# --- the file --------------------------------------------------------------------------------------------------------


def test_the_footer_says_where_the_rows_come_from(tiny, scenes, tmp_path):
    output = Output.of(str(tmp_path))
    shard = describe_many([str(scenes[0])])[0]
    with labeler(tiny, output, fingerprint="0123", batch_size=3) as replica:
        row = label_shard(shard, replica)
    footer = check_file(Path(output.label(shard.label_name)))
    assert (footer.fingerprint, footer.shard, footer.size, footer.etag) == ("0123", shard.url, shard.size, shard.etag)
    assert (footer.counts, footer.device, footer.batch_size) == (row.counts, "cpu", 3)
    assert footer.versions["torch"].startswith("2.")
    assert row.bytes == Path(output.label(shard.label_name)).stat().st_size


def test_labels_do_not_depend_on_the_order_in_which_batches_end(tiny, tmp_path):
    """Two sizes by turns: batches of either are complete at other times than their rows are due."""
    names = {f"{i:03d}.png": encoded(picture((128, 128) if i % 3 else (128, 192), i), "PNG") for i in range(24)}
    path = write_tar(tmp_path / "a.tar", names)
    row, table = label_one(tiny, path, tmp_path / "out", batch_size=8)
    assert table["sample_index"].to_pylist() == list(range(24))
    alone = label_one(tiny, write_tar(tmp_path / "b.tar", {"000.png": names["000.png"]}), tmp_path / "alone")[1]
    assert alone["sha256"][0] == table["sha256"][0]
    assert [s["query"] for s in segments_of(alone)[0]] == [s["query"] for s in segments_of(table)[0]]
    assert row.counts.labeled == 24


def test_a_vocabulary_of_one_name_and_a_large_k_are_fine(tiny, scenes, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    from maskmill.pipeline.labeling.labeling import Labeler
    from maskmill.pipeline.labeling.model_thread import ModelThread

    classes = tiny.classes(Vocabulary.load("scenes"))
    one = ClassFeatures(features=classes.features[:1], stuff=classes.stuff[:1])
    config = LabelConfig(inference=InferenceConfig(score_threshold=0.0, overlap_threshold=0.0, top_k=100))
    model = ModelThread(tiny, one, config.inference.form(), top_k=100, soft_masks=False)
    output = Output.of(str(tmp_path))
    with ThreadPoolExecutor(1) as decoders:
        replica = Labeler(
            model=model, decoders=decoders, threads=1, batch_size=4, config=config, output=output, fingerprint="f"
        )
        shard = describe_many([str(scenes[0])])[0]
        assert label_shard(shard, replica).state == "done"
    model.close()
    for segments in segments_of(pq.read_table(output.label(shard.label_name))):
        for segment in segments:
            assert segment["top_ids"] == [0]
            assert segment["margin"] == segment["score"]


def test_seconds_by_phase_are_told_and_add_up_to_no_more_than_threads_could_spend(tiny, scenes, tmp_path):
    started = time.perf_counter()
    row, _ = label_one(tiny, scenes[0], tmp_path)
    spent = time.perf_counter() - started
    assert set(row.seconds) == {"download", "decode", "model", "encode", "publish"}
    assert row.seconds["model"] > 0
    assert all(seconds <= 3 * spent for seconds in row.seconds.values())
