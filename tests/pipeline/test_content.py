"""All commands judge alike whether a shard is the one that was labeled: by its bytes, wherever etag and time differ."""

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from maskmill.jobs import cli
from maskmill.models import zoo
from maskmill.models.errors import UsageError
from maskmill.pipeline.content import COMPARED, holds_what_was_labeled
from maskmill.pipeline.dataset import LabeledImages
from maskmill.pipeline.dataset.reader import done_shards
from maskmill.pipeline.ledger.status import status
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.shards.moved import ShardsAt
from maskmill.pipeline.shards.shard import Shard, describe_many
from maskmill.pipeline.synthesis.shards import synthesize
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run
from maskmill.pipeline.truth.labels import open_labels
from tests.plain_run import label

LATER = 1_900_000_000


@pytest.fixture(scope="module")
def labeled(tmp_path_factory) -> tuple[Path, Path]:
    """Shards and the run of them: one of more samples than are compared, one of fewer."""
    folder = tmp_path_factory.mktemp("labeled")
    synthesize(folder / "shards", 1, COMPARED + 4, 3)
    (short,) = synthesize(folder / "short", 1, 3, 4)
    shutil.move(short, folder / "shards" / "short.tar")
    output = Output.of(str(folder / "out"))
    label(zoo.load("san-tiny", device="cpu"), sorted((folder / "shards").glob("*.tar")), output)
    return folder / "shards", folder / "out"


@pytest.fixture
def place(labeled, tmp_path) -> tuple[Path, Output]:
    """The shards where they were labeled, put back afterwards, and a copy of the run."""
    shards, out = labeled
    aside = {path: (path.read_bytes(), path.stat()) for path in shards.iterdir()}
    shutil.copytree(out, tmp_path / "out")
    yield shards, Output.of(str(tmp_path / "out"))
    shutil.rmtree(shards, ignore_errors=True)
    shards.mkdir()
    for path, (data, stat) in aside.items():
        path.write_bytes(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def touch(path: Path) -> None:
    os.utime(path, (LATER, LATER))


def flip(path: Path, sample: int) -> None:
    """Another byte in the image of a sample: the same size, another time."""
    with tarfile.open(path) as archive:
        images = [member for member in archive.getmembers() if member.name.endswith(".jpg")]
    data = bytearray(path.read_bytes())
    data[images[sample].offset_data + images[sample].size // 2] ^= 1
    path.write_bytes(data)
    touch(path)


# --- every command that reads sources --------------------------------------------------------------------------------


def ran(*arguments: str) -> None:
    """The command; what leaves it as wrong usage is raised."""
    from maskmill.jobs.cli import app

    code = app()(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    assert code == 0


def key_of(output: Output) -> str:
    import pyarrow.parquet as pq

    return pq.read_table(output.label(next(iter(sorted(output.done()))))).column("key")[0].as_py()


def reader(shards: Path, output: Output, at: list[str], folder: Path) -> None:
    moves = dict(word.split("=") for word in at)
    assert len(list(LabeledImages(output.url, shards_at=moves))) == COMPARED + 7


def labels(shards: Path, output: Output, at: list[str], folder: Path) -> None:
    keep = SegmentFilter().bound(vocabulary_of_run(output), "general")
    folder.mkdir(exist_ok=True)
    for shard in done_shards(output, None, ShardsAt.parse(at))[0]:
        with open_labels(shard, LabelTable(output), keep, folder, ReadLimits()) as pairs:
            assert pairs
            assert pairs[0].source == shard.url


def export(shards: Path, output: Output, at: list[str], folder: Path) -> None:
    ran("export", output.url, "--format", "coco", "--images", "-o", str(folder), *options(at))


def evaluate(shards: Path, output: Output, at: list[str], folder: Path) -> None:
    ran("evaluate", str(shards), "--labels", output.url, *options(at))


def options(at: list[str]) -> list[str]:
    return [word for move in at for word in ("--shards-at", move)]


READERS = pytest.mark.parametrize("read", [reader, labels, export, evaluate])
Read = Callable[[Path, Output, list[str], Path], None]


@READERS
def test_a_touched_shard_is_read(place, tmp_path, read: Read):
    shards, output = place
    for path in shards.iterdir():
        touch(path)
    read(shards, output, [], tmp_path / "to")


@READERS
def test_other_bytes_of_the_same_size_are_refused(place, tmp_path, read: Read):
    shards, output = place
    flip(shards / "short.tar", 1)
    with pytest.raises(
        UsageError, match=r"short\.tar.*(isn't the one that was labeled|not the image that was labeled)"
    ):
        read(shards, output, [], tmp_path / "to")


@READERS
def test_another_size_is_refused(place, tmp_path, read: Read):
    shards, output = place
    with (shards / "short.tar").open("ab") as file:
        file.write(bytes(10240))  # more padding, the same samples
    with pytest.raises(UsageError, match=r"short\.tar.*bytes when it was labeled"):
        read(shards, output, [], tmp_path / "to")


@READERS
def test_a_moved_set_is_read_where_its_place_is_named(place, tmp_path, read: Read):
    shards, output = place
    there = Path(shutil.copytree(shards, tmp_path / "there", copy_function=shutil.copyfile))
    shutil.rmtree(shards)
    read(there, output, [f"{shards}={there}"], tmp_path / "to")
    with pytest.raises(UsageError, match=r"--shards-at|no labels of it"):
        read(there, output, [], tmp_path / "other")


def test_pictures_and_pages_are_made_of_moved_and_touched_shards(place, tmp_path, capsys):
    shards, output = place
    there = Path(shutil.copytree(shards, tmp_path / "there", copy_function=shutil.copyfile))
    shutil.rmtree(shards)
    at = options([f"{shards}={there}"])
    ran("show", output.url, key_of(output), "-o", str(tmp_path / "a.png"), "--shard", str(there / "short.tar"), *at)
    ran("show", output.url, "--limit", "2", "-o", str(tmp_path / "b.png"), *at)
    ran("report", output.url, "-o", str(tmp_path / "page.html"), *at)
    assert "changed" not in capsys.readouterr().out
    assert b"can't be read" not in (tmp_path / "page.html").read_bytes().split(b"<script")[0]
    with pytest.raises(UsageError, match="no shard of this run lies below it"):
        ran("report", output.url, "-o", str(tmp_path / "page.html"), "--shards-at", f"{tmp_path}/typo={there}")
    with pytest.raises(UsageError, match="--shards-at OLD=NEW"):
        ran("show", output.url, "--limit", "2", "-o", str(tmp_path / "b.png"))


# --- stale or not ----------------------------------------------------------------------------------------------------


def dry_run(output: Output, capsys, *arguments: str) -> str:
    assert cli.run(["retry", output.url, "--stale", "--dry-run", *arguments]) == 0
    return capsys.readouterr().out


def test_what_was_touched_is_not_stale_and_that_is_remembered(place, capsys):
    shards, output = place
    for path in shards.iterdir():
        touch(path)
    manifest.add(output, describe_many([str(path) for path in sorted(shards.iterdir())]))  # as the same `label` does
    assert cli.run(["status", output.url]) == 0
    said = capsys.readouterr().out
    assert "short.tar  has another etag or time than when it was labeled" in said
    assert "`maskmill retry OUT --stale` compares them" in said
    said = dry_run(output, capsys)
    assert "nothing to label again" in said
    assert "same      2 done shards of another etag or time, with the bytes that were labeled" in said
    assert status(output).shards("stale") == 2
    assert cli.run(["retry", output.url, "--stale"]) == 0
    assert "compares 2 shards" in capsys.readouterr().err
    assert status(output).shards("stale") == 0
    assert cli.run(["retry", output.url, "--stale"]) == 0
    assert "compares" not in capsys.readouterr().err
    manifest.add(output, describe_many([str(path) for path in sorted(shards.iterdir())]))
    assert status(output).shards("stale") == 0


def test_what_differs_is_stale_whether_its_size_does_or_its_bytes_do(place, capsys):
    shards, output = place
    touch(shards / "scenes-000000.tar")
    flip(shards / "short.tar", 2)
    assert "1 shard of" in (said := dry_run(output, capsys))
    assert f"  {shards}/short.tar" in said
    with (shards / "scenes-000000.tar").open("ab") as file:
        file.write(bytes(10240))
    assert "2 stale" in dry_run(output, capsys)


def test_shards_to_retry_are_looked_for_where_they_lie_now(place, tmp_path, capsys):
    shards, output = place
    there = Path(shutil.copytree(shards, tmp_path / "there", copy_function=shutil.copyfile))
    shutil.rmtree(shards)
    assert "kept      2 done shards whose source is no longer there" in dry_run(output, capsys)
    said = dry_run(output, capsys, "--shards-at", f"{shards}={there}")
    assert "nothing to label again" in said
    flip(there / "short.tar", 0)
    Path(output.label(Shard(url=str(shards / "scenes-000000.tar"), source="").label_name)).unlink()
    said = dry_run(output, capsys, "--shards-at", f"{shards}={there}")
    assert "would label 2 of 2 shards" in said
    assert f"{shards}/short.tar" in said


# --- the comparison --------------------------------------------------------------------------------------------------


def repacked(path: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> None:
    """The archive with other members, filled up to the size that it had."""
    size = path.stat().st_size
    with tarfile.open(path) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive.getmembers()]
    change(members)
    import io

    with tarfile.open(path, "w") as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    with path.open("ab") as file:
        file.write(bytes(max(0, size - path.stat().st_size)))
    touch(path)


def same(shards: Path, output: Output, scratch: Path) -> bool:
    (shard,) = (shard for shard in done_shards(output, None)[0] if shard.url.endswith("short.tar"))
    return holds_what_was_labeled(shard, LabelTable(output), scratch, ReadLimits())


def test_samples_in_another_order_are_other_content(place, tmp_path):
    shards, output = place
    repacked(shards / "short.tar", lambda members: members.sort(key=lambda member: member[0].name, reverse=True))
    assert not same(shards, output, tmp_path)


def test_a_sample_fewer_is_other_content(place, tmp_path):
    shards, output = place
    repacked(shards / "short.tar", lambda members: members.__delitem__(slice(-3, None)))
    assert not same(shards, output, tmp_path)


def test_what_is_no_archive_any_more_is_other_content(place, tmp_path):
    shards, output = place
    path = shards / "short.tar"
    path.write_bytes(b"no archive" + bytes(path.stat().st_size - 10))
    touch(path)
    assert not same(shards, output, tmp_path)
