"""What all formats share: which tables, which places, names nobody can abuse, the same bytes every time."""

import errno
import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from maskmill.jobs.cli import run
from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline.compaction.compaction import compact
from maskmill.pipeline.export.destination import RECORD, UNFINISHED, Destination
from maskmill.pipeline.export.sample import MAX_KEY, sample_name
from maskmill.pipeline.export.tally import Tally
from maskmill.pipeline.output import Output
from maskmill.pipeline.stores.publish import names, publish_bytes
from maskmill.pipeline.table.schema import FOOTER_KEY, LABELS
from tests.plain_run import PLAIN, label
from tests.s3_server import S3Server, led_to, moto_server

FORMATS = ("coco", "coco-panoptic", "png", "hf")


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", FORMATS)
def test_a_repeat_a_sealed_table_and_more_workers_give_the_same_files(export, general, form, tmp_path):
    first, _ = export(general, form, to="first", images=True)
    sealed = Output.of(str(tmp_path / "sealed"))
    compact(general, sealed, scratch=tmp_path)
    second, _ = export(sealed, form, to="second", images=True)
    assert files(first) == files(second)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_several_processes_write_what_one_writes(export, queries, form):
    one, tally = export(queries, form, to="one", images=True)
    several, theirs = export(queries, form, to="several", images=True, workers=3)
    assert files(one) == files(several)
    assert tally == theirs


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_written_outside_and_names_are_tame(export, general, form, tmp_path):
    before = set(tmp_path.rglob("*"))
    folder, tally = export(general, form, images=True)
    after = set(tmp_path.rglob("*")) - before
    assert all(path == folder or folder in path.parents for path in after)
    images = [path for path in (folder / "images").rglob("*") if path.is_file()]
    assert len(images) == (0 if form == "hf" else tally.images)
    for path in images:
        assert set(path.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
        assert path.resolve() == path


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("../../etc/passwd", "f/000007-etc_passwd"),
        ("/abs", "f/000007-abs"),
        ("..", "f/000007"),
        ("", "f/000007"),
        ("a.b\\c\x00\n:*?", "f/000007-a_b_c"),
        ("süß", "f/000007-s"),
        ("x" * 500, f"f/000007-{'x' * MAX_KEY}"),
    ],
)
def test_a_key_becomes_a_tame_name(key, name):
    assert sample_name("f", 7, key) == name


def test_a_place_that_is_not_empty_is_refused(export, general, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty, and no finished export"):
        export(general, "coco", to="full")
    export(general, "coco", to="done")
    with pytest.raises(UsageError, match="holds an export already"):
        export(general, "png", to="done")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"a file\. Name a folder"):
        export(general, "coco", to="file")


def test_a_place_in_the_label_table_is_refused(general, capsys):
    assert run(["export", general.url, "--format", "coco", "-o", f"{general.url}/coco"]) == 2
    assert "lies in the label table" in capsys.readouterr().err
    assert not Path(f"{general.url}/coco").exists()


def killed(call: Callable[[], object]) -> None:
    """Kill an export half way: files of the first shard stand in DEST, those of the second do not."""
    child = os.fork()
    if child == 0:
        seen = itertools.count()
        real = Tally.add

        def add_and_die(mine: Tally, other: Tally) -> None:
            if next(seen):
                os.kill(os.getpid(), signal.SIGKILL)
            real(mine, other)

        Tally.add = add_and_die  # type: ignore[method-assign]
        call()
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_command_finishes_an_export_that_was_killed(export, general, form, tmp_path):
    whole, tally = export(general, form, to="whole", images=True)
    killed(lambda: export(general, form, images=True))
    dest = tmp_path / "dest"
    assert (dest / UNFINISHED).exists()
    assert not (dest / RECORD).exists()
    with pytest.raises(UsageError, match="an unfinished export of another table, or with other options"):
        export(general, form, images=True, min_area=2)
    (dest / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"an unfinished export, and 'mine\.txt'"):
        export(general, form, images=True)
    (dest / "mine.txt").unlink()
    again, counts = export(general, form, images=True)
    assert files(again) == files(whole)
    assert counts == tally
    assert not list(tmp_path.glob("maskmill-*")), "what the killed process left in scratch is gone too"


@pytest.fixture(scope="module")
def growing(tiny, sources, tmp_path_factory) -> tuple[Output, Output]:
    """A run of which two shards are done, and the same run when all are."""
    half, whole = (Output.of(str(tmp_path_factory.mktemp("growing") / "out")) for _ in range(2))
    config = replace(PLAIN, job=replace(PLAIN.job, max_failed_samples=1.0))
    label(tiny, sources, half, config, only=2)
    shutil.copytree(half.url, whole.url)
    label(tiny, sources, whole, config)
    return half, whole


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("grown", [True, False])
def test_a_killed_export_starts_over_once_other_shards_are_done(export, growing, queries, form, grown, tmp_path):
    before, after = growing if grown else reversed(growing)
    killed(lambda: export(before, form, images=True))
    mark = (tmp_path / "dest" / UNFINISHED).read_bytes()
    for output, options in ((after, {"min_area": 2}), (queries, {})):
        with pytest.raises(UsageError, match="an unfinished export of another table, or with other options"):
            export(output, form, images=True, **options)
    assert (tmp_path / "dest" / UNFINISHED).read_bytes() == mark
    again, counts = export(after, form, images=True)
    fresh, tally = export(after, form, images=True, to="fresh")
    assert files(again) == files(fresh)
    assert counts == tally


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_what_began_before_another_started_over_is_not_finished(bucket, place, tmp_path):
    with led_to(bucket) if place == "bucket" else nullcontext():
        url = bucket.url("over") if place == "bucket" else str(tmp_path / "over")
        destination, made = Destination.of(url), ("data", "README.md")
        first = destination.begin({"run": "a"}, "two shards", made)
        publish_bytes(b"rows", destination.place("data/train-00000-of-00002.parquet"))
        publish_bytes(b"card", destination.place("README.md"))
        assert destination.begin({"run": "a"}, "two shards", made) == first
        assert set(names(url)) == {UNFINISHED, *made}
        second = destination.begin({"run": "a"}, "four shards", made)
        assert names(url) == [UNFINISHED]
        with pytest.raises(UsageError, match="another export, of more shards or fewer, has begun there anew"):
            destination.finish({}, first)
        destination.finish({}, second)
        assert names(url) == [RECORD]


def test_an_export_that_was_killed_at_its_very_end_is_finished(export, general, tmp_path):
    export(general, "coco")
    (tmp_path / "dest" / UNFINISHED).write_text("{}")
    with pytest.raises(UsageError, match="holds an export already"):
        export(general, "coco")
    assert not (tmp_path / "dest" / UNFINISHED).exists()


def test_a_shard_that_has_changed_is_not_exported_beside_old_labels(export, tiny, sources, tmp_path):
    shard = tmp_path / "moving.tar"
    shutil.copy(sources[0], shard)
    output = Output.of(str(tmp_path / "out"))
    label(tiny, [shard], output, PLAIN)
    shutil.copy(sources[1], shard)
    with pytest.raises(UsageError, match=r"moving\.tar"):
        export(output, "coco", images=True)
    export(output, "coco", to="labels-only")


def _damaged(general: Output, folder: Path, change) -> Output:
    """A copy of the table with one label file's rows changed."""
    shutil.copytree(general.url, folder)
    path = next(path for path in sorted((folder / "labels").iterdir()) if path.name.startswith("scenes"))
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    footer = pq.read_metadata(path).metadata[FOOTER_KEY]
    with pq.ParquetWriter(path, LABELS) as file:
        file.write_table(table.from_pylist(rows, schema=LABELS))
        file.add_key_value_metadata({FOOTER_KEY: footer})
    return Output.of(str(folder))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mask", [b"", b"~~~", b"0", b"0P1", b"\x00" * 8])
def test_a_damaged_mask_is_one_line(export, general, form, mask, tmp_path):
    output = _damaged(general, tmp_path / "out", lambda rows: rows[0]["masks"].__setitem__(0, mask))
    if not pq.read_table(next(Path(output.labels).glob("scenes*")))["masks"][0].as_py():
        pytest.skip("no mask")
    with pytest.raises(UsageError, match="a damaged mask among its labels"):
        export(output, form)


def _one_more(rows):
    rows[1]["sample_index"] = rows[0]["sample_index"]


def _unknown_class(rows):
    next(row for row in rows if row["segments"])["segments"][0]["vocab_id"] = 48


def _mask_too_few(rows):
    next(row for row in rows if row["segments"])["masks"].pop()


def _segment_too_few(rows):
    row = next(row for row in rows if row["segments"])
    row["masks"].pop()
    row["segments"].pop()


@pytest.mark.parametrize("change", [_one_more, _unknown_class, _mask_too_few, _segment_too_few])
def test_rows_that_do_not_fit_are_one_line(export, general, change, tmp_path):
    with pytest.raises(UsageError, match="its labels are damaged, or were replaced meanwhile"):
        export(_damaged(general, tmp_path / "out", change), "coco")


def test_the_command_prints_what_it_did(general, tmp_path, capsys):
    dest = tmp_path / "dest"
    assert run(["export", general.url, "--format", "coco", "-o", str(dest), "--min-score", "0.2"]) == 0
    out = capsys.readouterr().out
    record = json.loads((dest / RECORD).read_text())
    assert record["filter"] == {"min_score": 0.2}
    assert f"images    {record['counts']['images']}, {record['counts']['empty']} without a segment" in out
    assert "3 failed samples" in out
    assert f"export    {dest}/export.json" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--format", "yolo"], "yolo"),
        (["--format", "coco", "--workers", "0"], "--workers 0"),
        (["--format", "coco", "--classes", "zebar"], "--classes 'zebar'"),
        (["--format", "coco", "--scratch", "/nowhere"], "--scratch '/nowhere'"),
    ],
)
def test_wrong_usage_is_one_line(general, tmp_path, capsys, arguments, told):
    assert run(["export", general.url, "-o", str(tmp_path / "dest"), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not (tmp_path / "dest").exists()


def test_a_folder_that_is_no_run_is_told(tmp_path, capsys):
    assert run(["export", str(tmp_path), "--format", "coco", "-o", str(tmp_path / "dest")]) == 2
    assert "no run.json there" in capsys.readouterr().err


@pytest.mark.parametrize("form", FORMATS)
def test_from_a_bucket_into_a_bucket(export, general, bucket, form):
    here, _ = export(general, form, to="here")
    with led_to(bucket):
        bucket.put_all({f"out/{name}": data for name, data in files(Path(general.url)).items()})
        dest = bucket.url(f"dest/{form}")
        assert run(["export", bucket.url("out"), "--format", form, "-o", dest]) == 0
        found = {key.removeprefix(f"dest/{form}/"): data for key, data in bucket.objects(f"dest/{form}/").items()}
        assert found == files(here)
        assert run(["export", bucket.url("out"), "--format", form, "-o", dest]) == 2


def test_images_come_from_a_bucket_too(sources, tiny, bucket):
    with led_to(bucket):
        bucket.put_all({"in/a.tar": sources[0].read_bytes()})
        label(tiny, [bucket.url("in/a.tar")], Output.of(bucket.url("labeled")), PLAIN)
        dest = bucket.url("dest/images")
        assert run(["export", bucket.url("labeled"), "--format", "png", "--images", "-o", dest]) == 0
        names = sorted(bucket.objects("dest/images/"))
    assert len([name for name in names if name.startswith("dest/images/images/a-")]) == 7
    assert len([name for name in names if name.startswith("dest/images/annotations/a-")]) == 7


def test_a_full_scratch_is_the_environments(export, general, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("maskmill.pipeline.export.coco_json.Lines.annotation", full)
    with pytest.raises(EnvironmentFailure, match="No space left on device"):
        export(general, "coco")
