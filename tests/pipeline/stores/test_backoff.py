"""Real errors of the stores' drivers are told apart: what is worth another try, and what is not."""

import errno
import types
from collections.abc import Callable

import aiohttp
import azure.core.exceptions as azure
import botocore.exceptions as boto
import gcsfs.retry
import google.auth.exceptions
import httpx2
import huggingface_hub.errors as hub
import pytest
import requests
import urllib3
from fsspec.exceptions import FSTimeoutError
from multidict import CIMultiDict
from s3fs.errors import translate_boto_error
from yarl import URL

from maskmill.pipeline.stores.backoff import ATTEMPTS, fault, patiently, seconds


def s3(code: str, status: int, operation: str = "GetObject") -> Exception:
    answer = {"Error": {"Code": code, "Message": "said so"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate_boto_error(boto.ClientError(answer, operation))


def web(status: int) -> Exception:
    request = aiohttp.RequestInfo(URL("http://h/a.tar"), "GET", CIMultiDict(), URL("http://h/a.tar"))
    return aiohttp.ClientResponseError(request, (), status=status)


def gcs(status: int) -> BaseException:
    try:
        gcsfs.retry.validate_response(status, b'{"error": {"message": "said so"}}', "b/k.tar")
    except Exception as error:
        return error
    raise AssertionError


def microsoft(kind: type[azure.HttpResponseError], status: int, code: str = "") -> Exception:
    response = types.SimpleNamespace(status_code=status, reason="said so", headers={}, text=lambda: "")
    error = kind(response=response)
    error.error_code = code
    return error


def face(status: int, kind: type[hub.HfHubHTTPError] = hub.HfHubHTTPError) -> Exception:
    return kind("said so", response=httpx2.Response(status, request=httpx2.Request("GET", "https://h/a.tar")))


def because(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


TRANSIENT = [
    s3("SlowDown", 503),
    s3("ServiceUnavailable", 503),
    s3("503", 503, "HeadObject"),
    s3("InternalError", 500),
    s3("500", 500, "HeadObject"),
    s3("RequestTimeout", 400),
    s3("ThrottlingException", 400),
    s3("TooManyRequests", 429),
    boto.EndpointConnectionError(endpoint_url="https://h"),
    boto.ConnectTimeoutError(endpoint_url="https://h"),
    boto.ReadTimeoutError(endpoint_url="https://h"),
    boto.ConnectionClosedError(endpoint_url="https://h"),
    boto.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    boto.ResponseStreamingError(error="cut"),
    boto.FlexibleChecksumError(error_msg="Expected checksum a did not match b"),
    boto.CredentialRetrievalError(provider="iam", error_msg="timed out"),
    aiohttp.ClientPayloadError("not enough data"),
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientOSError(errno.ECONNRESET, "reset"),
    aiohttp.SocketTimeoutError(),
    web(503),
    web(429),
    because(FileNotFoundError("http://h/a.tar"), aiohttp.ServerDisconnectedError()),
    gcs(503),
    gcs(502),
    gcs(429),
    gcsfs.retry.ChecksumError("md5"),
    google.auth.exceptions.TransportError("reset"),
    google.auth.exceptions.RefreshError("metadata server busy", retryable=True),
    microsoft(azure.HttpResponseError, 503, "ServerBusy"),
    microsoft(azure.HttpResponseError, 500),
    microsoft(azure.IncompleteReadError, 206),
    azure.ServiceRequestError("no route"),
    azure.ServiceResponseError("reset"),
    face(503),
    face(429),
    httpx2.ReadTimeout("slow"),
    httpx2.ConnectError("refused"),
    httpx2.RemoteProtocolError("cut"),
    requests.ConnectionError("reset"),
    requests.exceptions.ChunkedEncodingError("cut"),
    urllib3.exceptions.ProtocolError("cut"),
    FSTimeoutError(),
    TimeoutError(),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    OSError(errno.ENETUNREACH, "no route"),
]
PERMANENT = [
    s3("NoSuchKey", 404),
    s3("404", 404, "HeadObject"),
    s3("AccessDenied", 403),
    s3("403", 403, "HeadObject"),
    s3("InvalidAccessKeyId", 403),
    s3("NoSuchBucket", 404),
    s3("InvalidObjectState", 403),
    s3("PreconditionFailed", 412),
    s3("NotImplemented", 501),
    boto.NoCredentialsError(),
    boto.ProfileNotFound(profile="work"),
    web(404),
    web(403),
    gcs(404),
    gcs(403),
    gcs(400),
    google.auth.exceptions.RefreshError("invalid_grant"),
    microsoft(azure.ResourceNotFoundError, 404, "BlobNotFound"),
    microsoft(azure.ClientAuthenticationError, 403, "AuthorizationFailure"),
    because(FileNotFoundError("hf://a/b"), face(404, hub.RemoteEntryNotFoundError)),
    because(FileNotFoundError("hf://a/b"), face(401, hub.RepositoryNotFoundError)),
    face(403),
    FileNotFoundError(errno.ENOENT, "none"),
    PermissionError(errno.EACCES, "no"),
    OSError(errno.ENOSPC, "full"),
    because(OSError(errno.ENOSPC, "full"), TimeoutError()),
    ValueError("a mistake of ours"),
]
EXPIRED = [
    s3("ExpiredToken", 400),
    s3("ExpiredTokenException", 400),
    s3("TokenRefreshRequired", 400),
    s3("400", 400, "HeadObject"),
    gcs(401),
    microsoft(azure.ClientAuthenticationError, 401),
    face(401),
]


def shown(error: object) -> str:
    return f"{type(error).__module__.partition('.')[0]}.{type(error).__name__}"


@pytest.mark.parametrize("error", TRANSIENT, ids=shown)
def test_what_may_pass_is_asked_for_again(error: Exception) -> None:
    assert fault(error) == "transient"


@pytest.mark.parametrize("error", PERMANENT, ids=shown)
def test_what_stays_is_not_asked_for_again(error: Exception) -> None:
    assert fault(error) == "permanent"


@pytest.mark.parametrize("error", EXPIRED, ids=shown)
def test_expired_credentials_are_renewed(error: Exception) -> None:
    assert fault(error) == "expired"


def failing(error: Exception, times: int) -> Callable[[], int]:
    """Fails so often, then gives how often it was called."""
    calls: list[int] = []

    def call() -> int:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return len(calls)

    return call


def test_attempts_are_bounded_and_waits_grow() -> None:
    waits: list[float] = []
    assert patiently(failing(TimeoutError(), ATTEMPTS - 1), wait=waits.append) == ATTEMPTS
    assert len(waits) == ATTEMPTS - 1
    assert all(2.0**number <= wait <= 2.0 ** (number + 1) for number, wait in enumerate(waits))
    with pytest.raises(TimeoutError):
        patiently(failing(TimeoutError(), ATTEMPTS), wait=waits.append)
    assert len(waits) == 2 * (ATTEMPTS - 1)


def test_a_permanent_failure_is_told_at_once() -> None:
    waits: list[float] = []
    with pytest.raises(FileNotFoundError):
        patiently(failing(FileNotFoundError(), 1), wait=waits.append)
    assert waits == []


def test_a_new_client_is_made_for_expired_credentials_alone() -> None:
    renewed: list[int] = []

    def renew() -> None:
        renewed.append(1)

    assert patiently(failing(s3("ExpiredToken", 400), 1), renew=renew, wait=lambda _: None) == 2
    assert renewed == [1]
    patiently(failing(TimeoutError(), 1), renew=renew, wait=lambda _: None)
    assert renewed == [1]


def test_clients_that_failed_together_do_not_come_back_together() -> None:
    assert len({seconds(3) for _ in range(50)}) > 1
