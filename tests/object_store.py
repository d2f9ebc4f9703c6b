"""A small S3 server on the loopback for tests: one bucket, `shards`. Knows the few requests that we make."""

import hashlib
import itertools
import threading
import xml.sax.saxutils as xml
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

BUCKET = "shards"

PAGE = 1_000
"""Names in one answer to a listing, as of S3."""


class ObjectStore:
    """Objects, and the ways in which a store may fail."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        """Key -> bytes of its body that a GET sends, with a Content-Length to match: a body that ends early."""
        self.dropped: dict[str, int] = {}
        """Key -> bytes of its body that a GET sends before the connection is closed."""
        self.refused: set[str] = set()
        """Keys that are answered with 403."""
        self.unlisted = False
        """Listings are answered with 403."""
        self.flipped: dict[str, int] = {}
        """Key -> how many of the next GETs send its body with one bit changed."""
        self.held: dict[str, threading.Event] = {}
        """Key -> what a GET waits for in the middle of the body."""
        self.expired: set[str] = set()
        """Access keys whose tokens have expired."""
        self.replaced: dict[str, bytes] = {}
        """Key -> what the object is replaced with once it was read."""
        self.removed: set[str] = set()
        """Keys of objects that are removed once they were read, a part of them or the whole."""
        self.lost: set[str] = set()
        """Keys of which the answer to the next PUT is lost, after it was carried out."""
        self.garbled: set[str] = set()
        """Keys that are stored with a flipped bit by the next PUT."""
        self.encrypted: set[str] = set()
        """Keys whose ETag isn't their MD5, as of objects that are encrypted with a key of the user's."""
        self.unconditional = False
        """PUTs with a condition are answered with 501, as by stores that speak a part of S3."""
        self.arriving = Event()
        """Set when the first half of a PUT's body is there."""
        self.requests: list[str] = []
        """Method and path of every request."""
        self.address = ""

    def put(self, key: str, data: bytes) -> str:
        """Store an object; its s3:// URL."""
        self.objects[key] = data
        return f"s3://{BUCKET}/{key}"


class _Handler(BaseHTTPRequestHandler):
    store: ObjectStore
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        self.store.requests.append(f"{self.command} {bucket}/{key}")
        if bucket != BUCKET:
            self.send(404, b"<Error><Code>NoSuchBucket</Code></Error>", body)
        elif not key and self.store.unlisted:
            self.send(403, b"<Error><Code>AccessDenied</Code></Error>", body)
        elif not key:
            self.send(200, self.listing(parse_qs(url.query, keep_blank_values=True)), body)
        elif any(f"Credential={name}/" in self.headers.get("Authorization", "") for name in self.store.expired):
            self.send(400, b"<Error><Code>ExpiredToken</Code></Error>", body)
        elif key in self.store.refused:
            self.send(403, b"<Error><Code>AccessDenied</Code></Error>", body)
        elif key not in self.store.objects:
            self.send(404, b"<Error><Code>NoSuchKey</Code></Error>", body)
        else:
            data = self.store.objects[key]
            sent = data[: self.store.cut.get(key, len(data))] if body else data
            if body and self.store.flipped.get(key):
                self.store.flipped[key] -= 1
                sent = bytes([sent[0] ^ 1]) + sent[1:]
            # One that breaks breaks for good: what asks for the rest of it gets the same.
            broken = key in self.store.cut or key in self.store.dropped
            start, end = (0, len(sent)) if broken else self.range(len(sent))
            encrypted = key in self.store.encrypted
            self.send(
                200 if (start, end) == (0, len(sent)) else 206,
                sent[start:end],
                body,
                etag=hashlib.md5(data[::-1] if encrypted else data).hexdigest(),
                stop=self.store.dropped.get(key),
                headers={"x-amz-server-side-encryption": "aws:kms"} if encrypted else {},
                held=self.store.held.get(key),
            )
            if body and key in self.store.replaced:
                self.store.objects[key] = self.store.replaced.pop(key)
            if body and key in self.store.removed:
                self.store.removed.discard(key)
                del self.store.objects[key]

    def do_PUT(self) -> None:
        key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]
        store = self.store
        store.requests.append(f"PUT {BUCKET}/{key}")
        length = int(self.headers["Content-Length"])
        data = self.rfile.read(length // 2)
        store.arriving.set()
        data += self.rfile.read(length - len(data))
        condition = self.headers.get("If-None-Match")
        if len(data) < length:
            self.close_connection = True  # no store takes a part of an object
        elif condition and store.unconditional:
            self.send(501, b"<Error><Code>NotImplemented</Code></Error>", True)
        elif condition == "*" and key in store.objects:
            error = b"<Error><Code>PreconditionFailed</Code><Condition>If-None-Match</Condition></Error>"
            self.send(412, error, True)
        else:
            if key in store.garbled:
                store.garbled.remove(key)
                data = bytes([data[0] ^ 1]) + data[1:]
            store.objects[key] = data
            if key in store.lost:
                store.lost.remove(key)
                self.close_connection = True
            else:
                self.send(200, b"", True, etag=hashlib.md5(data).hexdigest())

    def do_DELETE(self) -> None:
        key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]
        self.store.requests.append(f"DELETE {BUCKET}/{key}")
        self.store.objects.pop(key, None)
        self.send(204, b"", False)

    def range(self, size: int) -> tuple[int, int]:
        """Where the bytes that are asked for begin and end."""
        start, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        return int(start), min(int(last) + 1, size) if last else size

    def send(
        self,
        status: int,
        data: bytes,
        body: bool,
        etag: str | None = None,
        stop: int | None = None,
        headers: Mapping[str, str] | None = None,
        held: threading.Event | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        if etag:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if body:
            half = len(data) // 2 if held is not None else 0
            if held is not None:
                self.wfile.write(data[:half])
                held.wait(60)
            self.wfile.write(data[half:stop])
            self.close_connection = stop is not None

    def listing(self, query: dict[str, list[str]]) -> bytes:
        """ListObjectsV2: a page of names, those after the one that the continuation token gives."""
        prefix, delimiter, after = (query.get(name, [""])[0] for name in ("prefix", "delimiter", "continuation-token"))
        keys = sorted(self.store.objects)
        rest = itertools.islice(keys, bisect_left(keys, max(prefix, after)), None)
        below = itertools.takewhile(lambda key: key.startswith(prefix), rest)
        names = (name for name, _ in itertools.groupby(_folded(key, prefix, delimiter) for key in below))
        page = list(itertools.islice((name for name in names if name > after), PAGE + 1))
        more = len(page) > PAGE
        entries = []
        for name in page[:PAGE]:
            if delimiter and name.endswith(delimiter) and name != prefix:
                entries.append(f"<CommonPrefixes><Prefix>{xml.escape(name)}</Prefix></CommonPrefixes>")
                continue
            data = self.store.objects[name]
            entries.append(
                f"<Contents><Key>{xml.escape(name)}</Key><Size>{len(data)}</Size>"
                f"<ETag>&quot;{hashlib.md5(data).hexdigest()}&quot;</ETag>"
                "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
            )
        token = f"<NextContinuationToken>{xml.escape(page[PAGE - 1])}</NextContinuationToken>" if more else ""
        return (
            f"<ListBucketResult><Name>{BUCKET}</Name><KeyCount>{len(entries)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(entries)}</ListBucketResult>"
        ).encode()


def _folded(key: str, prefix: str, delimiter: str) -> str:
    """The key, or the folder directly below the prefix that it lies in."""
    if not delimiter:
        return key
    head, cut, _ = key[len(prefix) :].partition(delimiter)
    return prefix + head + cut


@contextmanager
def s3_server() -> Iterator[ObjectStore]:
    """The store while its server runs; s3fs is led to it by the environment."""
    import s3fs

    store = ObjectStore()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    store.address = f"http://127.0.0.1:{server.server_port}"
    try:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AWS_ENDPOINT_URL", store.address)
            environment.setenv("AWS_ACCESS_KEY_ID", "test")
            environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
            environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
            environment.setenv("AWS_MAX_ATTEMPTS", "1")
            s3fs.S3FileSystem.clear_instance_cache()
            yield store
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.shutdown()
        server.server_close()
        thread.join()
