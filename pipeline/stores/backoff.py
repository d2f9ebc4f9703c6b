"""Which failures of a store are worth another try, and how long to wait before it. Opens nothing.

Drivers raise errors of their own families and need not be installed, so their errors are told by what they carry (a
status, a code) and by their names, not by their types.
"""

import errno
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, TypeVar

Fault = Literal["permanent", "transient", "expired"]
"""permanent: asking again gets the same answer. transient: it may not. expired: neither, but a new client has new
credentials, which the store's own library looks up."""

ATTEMPTS = 5
"""How often one thing is asked for; each time the driver retries what it takes for transient on its own."""

FIRST_WAIT = 2.0
"""Seconds before the second attempt, at most; twice as many before each later one."""

_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
"""S3's words for credentials that were good once."""

_AGAIN = frozenset(
    {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "OperationAborted", "IncompleteBody",
     "BadDigest", "XAmzContentSHA256Mismatch", "ServerBusy", "OperationTimedOut"}
)  # fmt: skip
"""Codes of S3 and Azure that mean 'later', whatever status they come with; so does each that begins with Throttl."""

_AGAIN_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524, 529})
"""HTTP statuses that mean 'later'."""

_NETWORK = frozenset({
    # botocore
    "HTTPClientError", "ConnectionError", "IncompleteReadError", "ResponseParserError", "FlexibleChecksumError",
    "CredentialRetrievalError",
    # aiohttp
    "ClientConnectionError", "ClientPayloadError",
    # gcsfs, google-auth
    "ChecksumError", "TransportError",
    # azure-core
    "ServiceRequestError", "ServiceResponseError",
    # requests, urllib3, http.client, httpx
    "Timeout", "TimeoutError", "ChunkedEncodingError", "ProtocolError", "IncompleteRead", "RemoteDisconnected",
})  # fmt: skip
"""Names of errors, or of what they derive from, that come of a connection and not of an answer."""

_ERRNOS = frozenset({
    errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ETIMEDOUT, errno.ENETUNREACH,
    errno.ENETRESET, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.EBUSY, errno.EAGAIN,
})  # fmt: skip

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""This machine's own disk; no store's answer changes it."""

_Told = TypeVar("_Told")


def fault(error: BaseException) -> Fault:
    """Whether it is worth asking again. What the store said decides; else whether the connection failed."""
    chain = list(_chain(error))
    if any(isinstance(link, OSError) and link.errno in _FULL for link in chain):
        return "permanent"
    for link in chain:
        verdict = _of_answer(*_answer(link))
        # The hub says 401 of what isn't there.
        if verdict == "expired" and any(isinstance(other, FileNotFoundError) for other in chain):
            return "permanent"
        if verdict is not None:
            return verdict
    return "transient" if any(_of_network(link) for link in chain) else "permanent"


def _of_answer(status: int | None, code: str) -> Fault | None:
    """What a store's answer means; None where it is no refusal."""
    # 401: a token that ran out (gs). 400 without a word: S3's answer to a HEAD with such a token.
    if code in _EXPIRED or status == 401 or code == "400":
        return "expired"
    if code in _AGAIN or code.startswith("Throttl") or status in _AGAIN_STATUS:
        return "transient"
    return "permanent" if status is not None and status >= 400 else None


def patiently(
    call: Callable[[], _Told],
    *,
    attempts: int = ATTEMPTS,
    judge: Callable[[BaseException], Fault] = fault,
    renew: Callable[[], None] = lambda: None,
    wait: Callable[[float], None] = time.sleep,
) -> _Told:
    """What `call` returns, asked for until it does, a bounded number of times.

    Args:
        call: the whole of what is to be done again.
        attempts: how often at most.
        judge: what an error means.
        renew: called before another attempt where credentials had expired.
        wait: sleeps so many seconds; tests don't.

    Raises:
        Exception: the last attempt's, or the first that is permanent.
    """
    for attempt in range(1, attempts):
        try:
            return call()
        except Exception as error:
            verdict = judge(error)
            if verdict == "permanent":
                raise
            if verdict == "expired":
                renew()
        wait(seconds(attempt))
    return call()


def seconds(attempt: int) -> float:
    """The wait after a failed attempt (the first is 1): doubling, and somewhere in its upper half, so that clients
    that failed together don't come back together."""
    return FIRST_WAIT * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came of, the nearest first; bounded, as a chain may bite its tail."""
    link: BaseException | None = error
    for _ in range(16):
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _answer(error: BaseException) -> tuple[int | None, str]:
    """The HTTP status and the store's own code that an error carries; None and "" where it has none."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore.exceptions.ClientError
        said = response.get("Error") or {}
        status = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode")
        code = str(said.get("Code") or "")
        return (status if isinstance(status, int) else _number(code)), code
    # azure.core's status_code, aiohttp's status, gcsfs's code; requests and httpx keep it in their response.
    for found in (
        getattr(error, "status_code", None),
        getattr(error, "status", None),
        getattr(error, "code", None),
        getattr(response, "status_code", None),
    ):
        if (status := _number(found)) is not None:
            return status, str(getattr(error, "error_code", None) or "")
    return None, ""


def _number(value: object) -> int | None:
    """An HTTP status out of what a driver calls one."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    return value if isinstance(value, int) and 100 <= value < 600 else None


def _of_network(error: BaseException) -> bool:
    if isinstance(error, TimeoutError | ConnectionError | EOFError):
        return True
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return True
    if getattr(error, "retryable", False) is True:  # google.auth
        return True
    return any(kind.__name__ in _NETWORK for kind in type(error).__mro__)
