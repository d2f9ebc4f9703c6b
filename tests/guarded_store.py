"""moto's S3 on the loopback behind infra/policies/*.json: what they don't allow is a 403, and each use is noted."""

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.s3_server import S3Server

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

POLICIES = Path(__file__).parents[1] / "infra" / "policies"

SHARDS, LABELS = "shards-bucket", "labels-bucket"


@dataclass(frozen=True, kw_only=True, order=True)
class Permission:
    """One action on one pattern of resources, as a policy grants it."""

    sid: str
    """Of the statement."""

    action: str
    """Such as s3:GetObject."""

    resource: str
    """Pattern of an ARN."""

    prefixes: tuple[str, ...] = ()
    """Patterns of the prefix that a listing may state; any where there are none."""

    def grants(self, action: str, resource: str, prefix: str | None) -> bool:
        """Whether it allows this; a request without a prefix passes, as with IAM's ...IfExists."""
        held = prefix is None or not self.prefixes or any(fnmatchcase(prefix, one) for one in self.prefixes)
        return held and action == self.action and fnmatchcase(resource, self.resource)


def permissions(*names: str) -> list[Permission]:
    """All that the named policies grant, with the buckets' names put in."""
    found = []
    for name in names:
        text = (POLICIES / name).read_text(encoding="utf-8")
        for statement in json.loads(text.replace("SHARDS-BUCKET", SHARDS).replace("LABELS-BUCKET", LABELS))[
            "Statement"
        ]:
            assert statement["Effect"] == "Allow"
            condition = statement.get("Condition", {"StringLikeIfExists": {"s3:prefix": []}})
            prefixes = tuple(condition["StringLikeIfExists"]["s3:prefix"])
            pairs = product(_listed(statement["Action"]), _listed(statement["Resource"]))
            found += [Permission(sid=statement["Sid"], action=a, resource=r, prefixes=prefixes) for a, r in pairs]
    return found


@dataclass(kw_only=True)
class Guard:
    """Lets requests of everybody but the administrator through to the store as far as they are permitted."""

    granted: list[Permission]
    """What is permitted."""

    used: set[Permission] = field(default_factory=set)
    """What of it was needed."""

    denied: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Action, resource and prefix of what was not permitted."""

    def allows(self, action: str, resource: str, prefix: str | None = None) -> bool:
        """Whether a request may be carried out; its use is noted, the narrowest permission's where several grant it."""
        fitting = [one for one in self.granted if one.grants(action, resource, prefix)]
        if fitting:
            self.used.add(max(fitting, key=lambda one: len(one.resource)))
        else:
            self.denied.append((action, resource, prefix))
        return bool(fitting)

    def may_tell_absence(self, bucket: str) -> bool:
        """Whether S3 answers 404 about a key that isn't there; without the right to list it is 403."""
        return any(one.grants("s3:ListBucket", f"arn:aws:s3:::{bucket}", None) for one in self.granted)


ADMINISTRATOR = "administrator"
"""Access key of requests that the guard lets through unseen: a test's own."""


def actions(method: str, path: str, query: Mapping[str, list[str]], body: bytes) -> list[tuple[str, str, str | None]]:
    """Actions that S3 asks the permission for, each with its resource and a listing's prefix.

    Source: "Required permissions for Amazon S3 API operations", Amazon S3 User Guide.
    """
    bucket, _, key = path.lstrip("/").partition("/")
    arn = f"arn:aws:s3:::{bucket}"
    if not bucket:
        return [("s3:ListAllMyBuckets", "*", None)]
    if not key:
        if method == "POST" and "delete" in query:
            keys = re.findall(rb"<Key>(.*?)</Key>", body)
            return [("s3:DeleteObject", f"{arn}/{name.decode()}", None) for name in keys]
        listed = method == "HEAD" or (method == "GET" and set(query) <= LISTING)
        prefix = query.get("prefix", [None])[0]
        if method == "GET" and "uploads" in query:
            return [("s3:ListBucketMultipartUploads", arn, prefix)]
        return [("s3:ListBucket" if listed else f"{method} {sorted(query)}", arn, prefix)]
    named = {
        ("GET", False): "s3:GetObject",
        ("HEAD", False): "s3:GetObject",
        ("PUT", False): "s3:PutObject",
        ("DELETE", False): "s3:DeleteObject",
        ("POST", True): "s3:PutObject",
        ("PUT", True): "s3:PutObject",
        ("DELETE", True): "s3:AbortMultipartUpload",
    }
    parts = bool({"uploads", "uploadId"} & set(query))
    known = set(query) <= {"uploads", "uploadId", "partNumber", "x-id"}
    return [(named[method, parts] if known else f"{method} {sorted(query)}", f"{arn}/{key}", None)]


LISTING = {"list-type", "prefix", "delimiter", "max-keys", "continuation-token", "encoding-type", "fetch-owner"} | {
    "start-after"
}
"""Parameters of ListObjectsV2."""


@contextmanager
def guarded_store(granted: list[Permission]) -> Iterator[tuple[S3Server, Guard]]:
    """A store with the two buckets, and its guard; `client()` of it with the administrator's key passes the guard."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    class Handler(MotoRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_expect_100(self) -> bool:
            # werkzeug sends it too; twice is once too often for boto.
            return True

        def log(self, *_: object) -> None:
            pass

    guard = Guard(granted=granted)
    server = make_server(
        "127.0.0.1", 0, _guarded(create_backend_app("s3"), guard), threaded=True, request_handler=Handler
    )
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        store = S3Server(endpoint=f"http://127.0.0.1:{server.server_port}", bucket=SHARDS, pid=0, user=ADMINISTRATOR)
        for bucket in (SHARDS, LABELS):
            store.client().create_bucket(Bucket=bucket)
        yield store, guard
    finally:
        server.shutdown()
        thread.join()


def _guarded(app: "WSGIApplication", guard: Guard) -> "WSGIApplication":
    turn = Lock()

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        administrator = f"Credential={ADMINISTRATOR}/" in environ.get("HTTP_AUTHORIZATION", "")
        told: list[Any] = []
        with turn:
            asked = [] if administrator else actions(method, path, query, body)
            if not all(guard.allows(*one) for one in asked):
                return _refuse(method, start_response)
            answered = b"".join(app(environ, lambda *rest: told.append(rest) or (lambda data: None)))
        absent = method in ("GET", "HEAD") and told[-1][0].startswith("404")
        bucket = path.lstrip("/").partition("/")[0]
        if absent and not administrator and not guard.may_tell_absence(bucket):
            guard.denied.append(("s3:ListBucket", f"arn:aws:s3:::{bucket}", None))
            return _refuse(method, start_response)
        start_response(*told[-1])
        return [answered]

    return answer


def _refuse(method: str, start_response: "StartResponse") -> list[bytes]:
    body = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    start_response("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [] if method == "HEAD" else [body]


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
