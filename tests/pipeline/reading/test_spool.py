import dataclasses
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskmill.pipeline.reading.errors import ShardError
from maskmill.pipeline.reading.spool import spooled
from maskmill.pipeline.shards.shard import Shard, describe
from maskmill.pipeline.stores.backoff import ATTEMPTS
from tests.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.object_store import ObjectStore, s3_server
from tests.s3_server import S3Server, led_to, moto_server


@pytest.fixture(scope="module")
def s3() -> Iterator[ObjectStore]:
    with s3_server() as store:
        yield store


def fails(shard: Shard, scratch: Path) -> ShardError:
    with pytest.raises(ShardError) as raised, spooled(shard, scratch, wait=lambda _: None):
        pass
    assert list(scratch.iterdir()) == []
    return raised.value


def test_a_local_shard_is_used_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"abc")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with spooled(describe(str(path)), scratch) as there:
        assert there == path
        assert list(scratch.iterdir()) == []
    assert path.exists()


def test_a_local_shard_that_moved_on_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"abc")
    shard = describe(str(path))
    os.utime(path, ns=(1, 1))
    with pytest.raises(ShardError, match=r"^changed"), spooled(shard, tmp_path):
        pass
    path.unlink()
    with pytest.raises(ShardError, match=r"^missing"), spooled(shard, tmp_path):
        pass


def test_a_missing_shard_is_a_failed_one(tmp_path: Path) -> None:
    assert fails(describe(str(tmp_path / "gone.tar")), tmp_path).reason == "missing"


def test_an_object_is_there_while_it_is_used_and_gone_after(s3: ObjectStore, tmp_path: Path) -> None:
    shard = describe(s3.put("a.tar", b"x" * 100_000))
    with spooled(shard, tmp_path) as path:
        assert path.read_bytes() == b"x" * 100_000
        assert path.parent.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_the_copy_is_gone_when_its_use_fails(s3: ObjectStore, tmp_path: Path) -> None:
    shard = describe(s3.put("b.tar", b"x"))
    with pytest.raises(ZeroDivisionError), spooled(shard, tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_ends_early_is_noticed(s3: ObjectStore, tmp_path: Path) -> None:
    shard = describe(s3.put("short.tar", b"x" * 5000))
    s3.cut["short.tar"] = 4096
    error = fails(shard, tmp_path)
    assert error.reason == "size_mismatch"
    assert "4,096" in error.detail
    assert "5,000" in error.detail


def test_a_connection_that_breaks_is_noticed(s3: ObjectStore, tmp_path: Path) -> None:
    shard = describe(s3.put("broken.tar", b"x" * 5000))
    s3.dropped["broken.tar"] = 4096
    assert fails(shard, tmp_path).reason in ("size_mismatch", "read")


def test_a_shard_on_the_web_is_spooled_alike(s3: ObjectStore, tmp_path: Path) -> None:
    s3.put("web.tar", b"x" * 5000)
    shard = describe(f"{s3.address}/shards/web.tar?signature=SECRET")
    assert (shard.size, shard.url) == (5000, f"{s3.address}/shards/web.tar")
    with spooled(shard, tmp_path) as path:
        assert path.read_bytes() == b"x" * 5000
    assert describe(f"{s3.address}/shards/none.tar").missing


def test_a_version_of_an_object_is_spooled_under_the_objects_name(s3: ObjectStore, tmp_path: Path) -> None:
    shard = describe(s3.put("versions.tar", b"x") + "?versionId=abc")
    assert (shard.url, shard.size) == ("s3://shards/versions.tar", 1)
    with spooled(shard, tmp_path) as path:
        assert path.read_bytes() == b"x"
    assert s3.requests[-1] == "HEAD shards/versions.tar"


def test_an_object_replaced_since_it_was_listed_is_changed(s3: ObjectStore, tmp_path: Path) -> None:
    shard = describe(s3.put("c.tar", b"old"))
    s3.put("c.tar", b"new")
    assert fails(shard, tmp_path).reason == "changed"


def test_an_object_replaced_while_it_is_read_is_changed(s3: ObjectStore, tmp_path: Path) -> None:
    shard = describe(s3.put("d.tar", b"old"))
    s3.replaced["d.tar"] = b"new"
    assert fails(shard, tmp_path).reason == "changed"


def test_an_object_deleted_since_it_was_listed_is_missing(s3: ObjectStore, tmp_path: Path) -> None:
    shard = describe(s3.put("e.tar", b"old"))
    del s3.objects["e.tar"]
    assert fails(shard, tmp_path).reason == "missing"


def test_a_refused_object_is_a_failed_shard(s3: ObjectStore, tmp_path: Path) -> None:
    shard = describe(s3.put("f.tar", b"x"))
    s3.refused.add("f.tar")
    assert fails(shard, tmp_path).reason == "read"


def test_a_shard_larger_than_the_disk_is_not_begun(s3: ObjectStore, tmp_path: Path) -> None:
    shard = dataclasses.replace(describe(s3.put("g.tar", b"x")), size=2**60)
    before = len(s3.requests)
    assert fails(shard, tmp_path).reason == "disk"
    assert len(s3.requests) == before


def gets(store: ObjectStore, key: str) -> int:
    return store.requests.count(f"GET shards/{key}")


def test_a_download_and_its_checks_are_two_requests(s3: ObjectStore, tmp_path: Path) -> None:
    shard = describe(s3.put("two.tar", b"x" * 1000))
    before = len(s3.requests)
    with spooled(shard, tmp_path):
        assert s3.requests[before:] == ["GET shards/two.tar", "HEAD shards/two.tar"]


def test_a_flipped_bit_is_fetched_again(s3: ObjectStore, tmp_path: Path) -> None:
    shard = describe(s3.put("flip.tar", b"x" * 1000))
    s3.flipped["flip.tar"] = 2
    waits: list[float] = []
    with spooled(shard, tmp_path, wait=waits.append) as path:
        assert path.read_bytes() == b"x" * 1000
    assert (gets(s3, "flip.tar"), len(waits)) == (3, 2)


def test_a_bit_that_is_always_flipped_is_a_failed_shard(s3: ObjectStore, tmp_path: Path) -> None:
    shard = describe(s3.put("rotten.tar", b"x" * 1000))
    s3.flipped["rotten.tar"] = 100
    error = fails(shard, tmp_path)
    assert error.reason == "checksum"
    assert "md5" in error.detail
    assert gets(s3, "rotten.tar") == ATTEMPTS


def test_what_stays_as_it_is_is_asked_for_once(s3: ObjectStore, tmp_path: Path) -> None:
    shard = describe(s3.put("no.tar", b"x"))
    s3.refused.add("no.tar")
    assert fails(shard, tmp_path).reason == "read"
    assert gets(s3, "no.tar") == 1


def test_a_new_client_reads_on_when_a_token_has_expired(
    s3: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = describe(s3.put("token.tar", b"x"))
    s3.expired.add("test")

    def renewed(_: float) -> None:
        # What a sidecar or a login does to the environment or the credentials file meanwhile.
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fresh")

    try:
        with spooled(shard, tmp_path, wait=renewed) as path:
            assert path.read_bytes() == b"x"
    finally:
        s3.expired.clear()


def test_bytes_that_arrive_are_a_sign_of_life(s3: ObjectStore, tmp_path: Path) -> None:
    shard = describe(s3.put("slow.tar", b"x" * 2**20))
    s3.held["slow.tar"] = threading.Event()
    # The second half is sent once the first was noticed: without a sign of life this download would not end.
    with spooled(shard, tmp_path, alive=s3.held["slow.tar"].set) as path:
        assert path.stat().st_size == 2**20
    assert s3.held["slow.tar"].is_set()


@pytest.fixture(scope="module")
def moto() -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


@pytest.fixture
def proxy(moto: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(moto.endpoint) as proxy, led_to(moto, proxy.endpoint):
        yield proxy


@pytest.mark.parametrize("kind", ["slow_down", "reset", "lost", "cut", "drop", "flip"])
def test_a_fault_that_passes_costs_no_shard(moto: S3Server, proxy: FaultProxy, tmp_path: Path, kind: str) -> None:
    data = os.urandom(200_000)
    moto.put_all({f"{kind}.tar": data})
    shard = describe(moto.url(f"{kind}.tar"))
    proxy.faults.append(Fault(kind=kind, methods=("GET",), times=2))
    with spooled(shard, tmp_path, wait=lambda _: None) as path:
        assert path.read_bytes() == data
    assert proxy.failed()[kind] == 2


def test_an_object_whose_parts_were_put_one_by_one_is_held_to_its_checksum(
    moto: S3Server, proxy: FaultProxy, tmp_path: Path
) -> None:
    """Its ETag is no MD5 of its bytes; the checksum of the whole is what tells."""
    client = moto.client()
    data = os.urandom(6 * 2**20)
    place = {"Bucket": moto.bucket, "Key": "parts.tar"}
    upload = client.create_multipart_upload(**place, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")["UploadId"]
    halves = [data[: 5 * 2**20], data[5 * 2**20 :]]
    parts = [
        {
            "PartNumber": number,
            "ETag": client.upload_part(**place, UploadId=upload, PartNumber=number, Body=half)["ETag"],
        }
        for number, half in enumerate(halves, start=1)
    ]
    client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
    shard = describe(moto.url("parts.tar"))
    assert shard.etag is not None
    assert shard.etag.endswith("-2")
    with spooled(shard, tmp_path, wait=lambda _: None) as path:
        assert path.read_bytes() == data
