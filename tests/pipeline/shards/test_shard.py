import hashlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskmill.models.errors import EnvironmentFailure
from maskmill.pipeline.shards.shard import LIST_FROM, describe, describe_many
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


def test_one_refused_shard_is_kept_and_all_refused_are_an_error(s3: ObjectStore) -> None:
    sound = s3.put("mixed/a.tar", b"abc")
    refused = [s3.put(f"mixed/{name}.tar", b"abc") for name in "bc"]
    s3.refused.update(("mixed/b.tar", "mixed/c.tar"))
    first, second = describe_many([refused[0], sound])
    assert (first.missing, first.size, first.etag) == (False, None, None)
    assert second.size == 3
    with pytest.raises(EnvironmentFailure, match="credentials"):
        describe_many(refused)


def test_a_directory_that_nobody_may_list_is_asked_for_name_by_name(s3: ObjectStore) -> None:
    names = [f"s3://shards/many/{number:04}.tar" for number in range(LIST_FROM)]
    s3.unlisted = True
    try:
        assert describe_many(names)[7].size == 7
    finally:
        s3.unlisted = False


def test_a_few_names_do_not_list_their_directory(s3: ObjectStore) -> None:
    before = len(s3.requests)
    describe_many([f"s3://shards/many/{number:04}.tar" for number in range(20)])
    assert {request.split()[0] for request in s3.requests[before:]} == {"HEAD"}
    assert len(s3.requests) - before == 20


def test_many_names_are_described_by_one_listing(s3: ObjectStore) -> None:
    before = len(s3.requests)
    shards = describe_many([f"s3://shards/many/{number:04}.tar" for number in range(LIST_FROM)])
    assert [shard.size for shard in shards] == list(range(LIST_FROM))
    assert s3.requests[before:] == ["GET shards/"] * 2, "the directory's 1,002 objects are two pages"
