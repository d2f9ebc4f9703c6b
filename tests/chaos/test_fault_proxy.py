"""The proxy fails as it is told and lets the rest through; what boto makes of it is boto's."""

import http.client
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.s3_server import S3Server, moto_server

BODY = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with moto_server() as server:
        server.put_all({"a.tar": BODY, "b.tar": BODY})
        yield server


@pytest.fixture
def proxy(store: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(store.endpoint) as proxy:
        yield proxy


def client(proxy: FaultProxy, attempts: int = 5) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=proxy.endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": attempts, "mode": "standard"}),
    )


def raw(proxy: FaultProxy, key: str, method: str = "GET", timeout: float = 10.0) -> http.client.HTTPResponse:
    """A request without a client's patience or checks."""
    connection = http.client.HTTPConnection(urlsplit(proxy.endpoint).netloc, timeout=timeout)
    # moto looks whether a request is signed, and no further.
    signed = "AWS4-HMAC-SHA256 Credential=test/20240101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    connection.request(method, f"/shards/{key}", headers={"Authorization": signed})
    return connection.getresponse()


def test_without_faults_it_is_the_server(proxy: FaultProxy) -> None:
    s3 = client(proxy)
    s3.put_object(Bucket="shards", Key="new", Body=BODY, IfNoneMatch="*")
    assert s3.get_object(Bucket="shards", Key="new")["Body"].read() == BODY
    assert s3.head_object(Bucket="shards", Key="new")["ContentLength"] == len(BODY)
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="shards")["Contents"]] == ["a.tar", "b.tar", "new"]
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket="shards", Key="new", Body=b"", IfNoneMatch="*")
    s3.delete_object(Bucket="shards", Key="new")
    assert proxy.requests() == {
        "PUT object": 2,
        "GET object": 1,
        "HEAD object": 1,
        "GET list": 1,
        "DELETE object": 1,
    }
    assert not proxy.failed()


def test_a_burst_of_503_names_slow_down_and_passes(proxy: FaultProxy) -> None:
    proxy.faults.append(Fault(kind="slow_down", times=2, together=True))
    with pytest.raises(ClientError, match="SlowDown"):
        client(proxy, attempts=1).get_object(Bucket="shards", Key="a.tar")
    assert raw(proxy, "b.tar", "HEAD").status == 503
    assert raw(proxy, "b.tar").read() == BODY
    assert proxy.failed() == {"slow_down": 2}


def test_a_share_of_requests_fails_as_its_seed_draws(store: S3Server) -> None:
    def statuses() -> list[int]:
        with fault_proxy(store.endpoint, Fault(kind="slow_down", share=0.25), seed=3) as proxy:
            return [raw(proxy, "a.tar", "HEAD").status for _ in range(40)]

    first = statuses()
    assert 3 <= first.count(503) <= 17
    assert first == statuses()


def test_a_key_fails_once_and_other_keys_or_methods_do_not(proxy: FaultProxy) -> None:
    proxy.faults.append(Fault(kind="flip", keys="a.*", methods=["GET"], times=1))
    assert raw(proxy, "b.tar").read() == BODY
    assert raw(proxy, "a.tar", "HEAD").status == 200
    wrong = raw(proxy, "a.tar").read()
    differ = [(mine, theirs) for mine, theirs in zip(wrong, BODY, strict=True) if mine != theirs]
    assert len(differ) == 1
    assert (differ[0][0] ^ differ[0][1]).bit_count() == 1
    assert raw(proxy, "a.tar").read() == BODY
    assert [exchange.fault for exchange in proxy.of("a.tar", "GET")] == ["flip", None]


def test_cuts_state_the_length_that_they_are_told_to(proxy: FaultProxy) -> None:
    proxy.faults += [Fault(kind="cut", keys="a.tar"), Fault(kind="drop", keys="b.tar", at=0.25)]
    short = raw(proxy, "a.tar")
    assert short.read() == BODY[: len(BODY) // 2]
    assert short.status == 200
    with pytest.raises(http.client.IncompleteRead) as error:
        raw(proxy, "b.tar").read()
    assert error.value.partial == BODY[: len(BODY) // 4]


def test_a_reset_asks_the_server_nothing_and_a_lost_answer_comes_after_the_deed(
    proxy: FaultProxy, store: S3Server
) -> None:
    proxy.faults += [Fault(kind="reset", keys="reset"), Fault(kind="lost", keys="lost")]
    for key in ("reset", "lost"):
        with pytest.raises(ConnectionResetError):
            raw(proxy, key, "PUT")
    assert [key in store.objects() for key in ("reset", "lost")] == [False, True]
    assert [exchange.status for exchange in proxy.exchanges()] == [None, None]


def test_a_stall_sends_a_part_and_then_nothing(proxy: FaultProxy) -> None:
    proxy.faults.append(Fault(kind="stall", keys="a.tar"))
    response = raw(proxy, "a.tar", timeout=0.3)
    assert response.read(len(BODY) // 2) == BODY[: len(BODY) // 2]
    with pytest.raises(socket.timeout):
        response.read(1)


def test_a_flipped_bit_is_seen_by_a_client_that_checks(proxy: FaultProxy) -> None:
    from botocore.exceptions import FlexibleChecksumError

    proxy.faults.append(Fault(kind="flip", keys="a.tar"))
    with pytest.raises(FlexibleChecksumError):
        client(proxy).get_object(Bucket="shards", Key="a.tar", ChecksumMode="ENABLED")["Body"].read()
