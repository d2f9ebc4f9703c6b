"""What tests lean on in moto: checksums, and puts that never overwrite, also at the same time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from tests.s3_server import S3Server, moto_server


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


def test_a_put_that_must_not_overwrite_has_one_winner_of_many(store: S3Server) -> None:
    client = store.client()

    def put(number: int) -> bool:
        try:
            client.put_object(Bucket=store.bucket, Key="race", Body=b"%d" % number, IfNoneMatch="*")
        except ClientError as error:
            return error.response["Error"]["Code"] != "PreconditionFailed"
        return True

    with ThreadPoolExecutor(8) as threads:
        won = [number for number, first in enumerate(threads.map(put, range(64))) if first]
    assert [b"%d" % number for number in won] == list(store.objects("race").values())


def test_an_object_keeps_the_checksum_that_it_was_put_with(store: S3Server) -> None:
    store.put_all({"checked": b"body"})
    head = store.client().head_object(Bucket=store.bucket, Key="checked", ChecksumMode="ENABLED")
    assert head["ChecksumCRC32"] == "26gLsg=="
