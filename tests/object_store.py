"""A small S3 server on the loopback for tests: one bucket, `shards`. Knows the few requests that reading makes."""

import hashlib
import xml.sax.saxutils as xml
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

BUCKET = "shards"


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
        self.replaced: dict[str, bytes] = {}
        """Key -> what the object is replaced with once it was read."""
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
        elif not key:
            self.send(200, self.listing(parse_qs(url.query, keep_blank_values=True)), body)
        elif key in self.store.refused:
            self.send(403, b"<Error><Code>AccessDenied</Code></Error>", body)
        elif key not in self.store.objects:
            self.send(404, b"<Error><Code>NoSuchKey</Code></Error>", body)
        else:
            data = self.store.objects[key]
            sent = data[: self.store.cut.get(key, len(data))] if body else data
            self.send(200, sent, body, etag=hashlib.md5(data).hexdigest(), stop=self.store.dropped.get(key))
            if body and key in self.store.replaced:
                self.store.objects[key] = self.store.replaced.pop(key)

    def send(self, status: int, data: bytes, body: bool, etag: str | None = None, stop: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        if etag:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if body:
            self.wfile.write(data[:stop])
            self.close_connection = stop is not None

    def listing(self, query: dict[str, list[str]]) -> bytes:
        """ListObjectsV2, in one page."""
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        folders, entries = set(), []
        for key, data in sorted(self.store.objects.items()):
            if not key.startswith(prefix):
                continue
            head, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if cut:
                folders.add(prefix + head + delimiter)
            else:
                entries.append(
                    f"<Contents><Key>{xml.escape(key)}</Key><Size>{len(data)}</Size>"
                    f"<ETag>&quot;{hashlib.md5(data).hexdigest()}&quot;</ETag>"
                    "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
                )
        common = "".join(f"<CommonPrefixes><Prefix>{xml.escape(name)}</Prefix></CommonPrefixes>" for name in folders)
        count = len(entries) + len(folders)
        return (
            f"<ListBucketResult><Name>{BUCKET}</Name><KeyCount>{count}</KeyCount><IsTruncated>false</IsTruncated>"
            f"{''.join(entries)}{common}</ListBucketResult>"
        ).encode()


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
