"""moto's S3 server in a process of its own on the loopback, and a bucket in it. Faults are tests/fault_proxy.py's."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

BUCKET = "shards"

PATIENCE = 60.0
"""Seconds after which a server that should have ended is a failed test."""


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A store with one bucket.

    moto 5.2 pages its listings (1,000 keys), keeps checksums (CRC32 and others come back with ChecksumMode=ENABLED; an
    object that was put without one has none), and honours If-None-Match on PutObject and CompleteMultipartUpload and
    If-Match on GetObject. It takes any credentials and signature, and does not hold an upload against its Content-MD5
    or checksum: what is damaged on its way in is stored.
    """

    endpoint: str
    """http://127.0.0.1:PORT."""

    bucket: str
    """Its bucket."""

    pid: int
    """Its process."""

    user: str = "test"
    """Its access key; the secret is `test`."""

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """What leads s3fs, boto and our program to it, or to a proxy before it."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": self.user,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def url(self, key: str) -> str:
        """The s3:// URL of a key."""
        return f"s3://{self.bucket}/{key}"

    def client(self) -> Any:
        """A boto client of it, past any proxy: to prepare a test and to look at what came of it."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.user,
            aws_secret_access_key="test",
            region_name="us-east-1",
        )

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Store objects, with CRC32 checksums as boto gives them."""
        client = self.client()
        for key, data in objects.items():
            client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """All objects below a prefix."""
        client = self.client()
        keys = [
            entry["Key"]
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            for entry in page.get("Contents", [])
        ]
        return {key: client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}


@contextmanager
def moto_server(bucket: str = BUCKET) -> Iterator[S3Server]:
    """A server with an empty bucket for the length of a `with`; it ends with this process too, however that ends."""
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.strip(), "the server has not started"
        server = S3Server(endpoint=f"http://127.0.0.1:{int(line)}", bucket=bucket, pid=process.pid)
        server.client().create_bucket(Bucket=bucket)
        yield server
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdin.close()
        process.stdout.close()


@contextmanager
def led_to(server: S3Server, endpoint: str | None = None) -> Iterator[None]:
    """This process's own s3fs uses the server, or a proxy before it, for the length of a `with`."""
    import s3fs

    with pytest.MonkeyPatch.context() as environment:
        for name, value in server.environment(endpoint).items():
            environment.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        try:
            yield
        finally:
            s3fs.S3FileSystem.clear_instance_cache()


def _one_at_a_time(app: "WSGIApplication") -> "WSGIApplication":
    """One request after the other: moto looks whether a key is there and puts it in two steps, stores do it in one."""
    turn = Lock()

    def serialised(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        # Read before the turn, so that a slow client holds up nobody.
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        with turn:
            body = app(environ, start_response)
            try:
                return [b"".join(body)]
            finally:
                getattr(body, "close", _nothing)()

    return serialised


def _nothing() -> None:
    pass


def _serve() -> None:
    """The server's own process: says its port, serves until its standard input ends."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    class Handler(MotoRequestHandler):
        protocol_version = "HTTP/1.1"
        # The head and the body of an answer go in two writes; the second must not wait for the first's receipt.
        disable_nagle_algorithm = True

        def handle_expect_100(self) -> bool:
            # werkzeug sends it too; twice is once too often for boto.
            return True

        def log(self, *_: object) -> None:
            pass

    app = _one_at_a_time(create_backend_app("s3"))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Handler)
    Thread(target=_end_with, args=(sys.stdin.read,), daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


def _end_with(wait: Callable[[], str]) -> None:
    wait()
    os._exit(0)


if __name__ == "__main__":
    _serve()
