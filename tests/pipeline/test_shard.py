import hashlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import EnvironmentFailure
from pipeline.shard import LIST_FROM, describe, describe_many
from tests.object_store import ObjectStore, s3_server


@pytest.fixture(scope="module")
def s3() -> Iterator[ObjectStore]:
    with s3_server() as store:
        for number in range(LIST_FROM + 2):
            store.put(f"many/{number:04}.tar", b"x" * number)
        yield store


def test_a_local_shard_has_size_and_a_token_that_moves_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"abc")
    first = describe(str(path))
    assert (first.url, first.size, first.missing) == (str(path), 3, False)
    assert describe(f"file://{path}") == first
    os.utime(path, ns=(1, 1))
    assert describe(str(path)).etag != first.etag


def test_a_label_file_is_named_after_its_shard() -> None:
    shard = describe("/none/part-7.tar")
    assert shard.label_name == "part-7-" + hashlib.sha256(b"/none/part-7.tar").hexdigest()[:16]


@pytest.mark.parametrize("name", ["gone.tar", "folder.tar", "file.tar/inside.tar"])
def test_what_is_no_file_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.tar").mkdir()
    (tmp_path / "file.tar").write_bytes(b"x")
    shard = describe(str(tmp_path / name))
    assert (shard.missing, shard.size, shard.etag) == (True, None, None)


def test_a_shard_travels_but_never_shows_its_source() -> None:
    shard = describe("/none/a.tar")
    assert pickle.loads(pickle.dumps(shard)) == shard
    assert "source" not in repr(shard)


def test_one_object_and_a_listing_describe_alike(s3: ObjectStore) -> None:
    names = [f"s3a://shards/many/{number:04}.tar" for number in reversed(range(LIST_FROM + 2))]
    listed = describe_many([*names, "s3://shards/many/gone.tar", "s3://shards/none/x.tar"])
    assert [shard.size for shard in listed] == [*reversed(range(LIST_FROM + 2)), None, None]
    assert [shard.missing for shard in listed] == [False] * len(names) + [True, True]
    assert listed[0].url == f"s3://shards/many/{LIST_FROM + 1:03}.tar"
    assert listed[5] == describe(names[5])
    assert listed[5].etag
    assert '"' not in listed[5].etag


def test_an_object_that_came_later_is_seen(s3: ObjectStore) -> None:
    assert describe("s3://shards/late/a.tar").missing
    s3.put("late/a.tar", b"now")
    assert describe("s3://shards/late/a.tar").size == 3


def test_a_missing_bucket_is_a_missing_shard_and_a_dead_server_is_not(
    s3: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert describe("s3://nobucket/a.tar").missing
    with pytest.raises(EnvironmentFailure, match="could not be looked up") as raised:
        describe("http://127.0.0.1:9/a.tar?sig=SECRET", wait=lambda _: None)
    assert "SECRET" not in str(raised.value)
