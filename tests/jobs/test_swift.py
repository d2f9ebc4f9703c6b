"""Label, resume and verify on OpenStack Swift's S3 API: a real store, whose answers aren't moto's."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.stores.put import put
from tests import swift_server
from tests.jobs.conftest import Workplace
from tests.s3_server import S3Server, led_to

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(swift_server.missing() is not None, reason=swift_server.missing() or ""),
]

SHARDS = 4


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with swift_server.swift_server(tmp_path_factory.mktemp("swift") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def place(swift: S3Server, shared_workplace: Workplace) -> Workplace:
    """A folder with shards, the same shards in the store, and the way there in the environment."""
    assert shared_workplace.run("synthesize", "in", "--shards", str(SHARDS), "--samples", "8").code == 0
    swift.put_all({f"in/{path.name}": path.read_bytes() for path in (shared_workplace.cwd / "in").glob("*.tar")})
    return dataclasses.replace(shared_workplace, environment={**shared_workplace.environment, **swift.environment()})


def stored(swift: S3Server) -> dict[str, object]:
    """Label files in the store -> when they were written."""
    listed = swift.client().list_objects_v2(Bucket=swift.bucket, Prefix="out/labels/")
    return {entry["Key"]: entry["LastModified"] for entry in listed.get("Contents", [])}


def label(place: Workplace, shards: str, output: str, *options: str) -> None:
    same = ("--model", "san-tiny", "--batch-size", "4", "--cpus-per-replica", "1", "--replicas", "1")
    ended = place.run("label", shards, "--output", output, *same, *options)
    assert ended.code == 0, ended.err


def test_a_job_in_two_parts_gives_the_table_of_a_folder(swift: S3Server, place: Workplace, tmp_path: Path) -> None:
    label(place, swift.url("in/"), swift.url("out"), "--limit", "2")
    first = stored(swift)
    assert len(first) == 2
    label(place, swift.url("in/"), swift.url("out"))
    both = stored(swift)
    assert len(both) == SHARDS
    assert first.items() <= both.items(), "done shards are labeled once"
    verified = place.run("verify", "--deep", swift.url("out"))
    assert verified.code == 0, verified.out
    assert f"{SHARDS} label files" in verified.out

    label(place, "in", "out")
    theirs = {}
    for key, data in swift.objects("out/labels/").items():
        path = tmp_path / Path(key).name
        path.write_bytes(data)
        table = pq.read_table(path)
        theirs[Path(table["shard"][0].as_py()).name] = table.drop_columns(["shard"])
    ours = {}
    for path in (place.cwd / "out" / "labels").glob("*.parquet"):
        table = pq.read_table(path)
        ours[Path(table["shard"][0].as_py()).name] = table.drop_columns(["shard"])
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equals(theirs[name]) for name in ours)


def test_a_shard_that_is_not_in_the_store_is_a_failed_shard(swift: S3Server, place: Workplace) -> None:
    ended = place.run("label", swift.url("in/nowhere.tar"), "--output", swift.url("missing"), "--model", "san-tiny")
    assert ended.code == 1, ended.err
    assert "0 done, 1 failed, 0 missing" in ended.out


def test_nothing_is_replaced_in_a_store_without_conditional_puts(swift: S3Server, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.write_bytes(b"mine")
    other.write_bytes(b"other")
    with led_to(swift):
        assert put(mine, swift.url("put/a"), overwrite=False)
        assert put(mine, swift.url("put/a"), overwrite=False)
        assert not put(other, swift.url("put/a"), overwrite=False)
    assert swift.objects("put/") == {"put/a": b"mine"}
