"""An HTTP proxy on the loopback between a client and an S3 server that fails as networks and stores do, on demand."""

import http.client
import os
import random
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Lock, Thread
from typing import Literal
from urllib.parse import unquote, urlsplit

Kind = Literal["slow_down", "reset", "lost", "cut", "drop", "stall", "flip"]
"""slow_down: 503 with S3's SlowDown, the server is not asked. reset: the connection is reset, the server is not asked.
lost: the server does what is asked and the connection is reset before its answer. cut: the body ends early and
Content-Length says so too. drop: the body ends early and Content-Length says the whole. stall: the body stops and the
connection stays. flip: one bit of the body is another."""

SLOW_DOWN = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"""

HOPS = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"})
"""Headers that are between two ends of one connection."""

TIMEOUT = 60.0
"""Seconds that the server has for an answer."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong, with which requests, and how often."""

    kind: Kind
    """What goes wrong."""

    keys: str = "*"
    """Pattern (fnmatch) of the keys it concerns, without the bucket; a listing's key is empty."""

    methods: Sequence[str] = ("GET", "HEAD", "PUT", "POST", "DELETE")
    """Methods it concerns."""

    share: float = 1.0
    """Share of these requests that fail, drawn with the proxy's seed."""

    times: int | None = None
    """How often a key fails at most; always where None."""

    together: bool = False
    """`times` counts over all keys: a burst."""

    at: float = 0.5
    """Where in the body: a share of its length."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request and what the client got."""

    method: str
    """As the client sent it."""

    key: str
    """Without the bucket; empty for a listing."""

    status: int | None
    """What the client was told; None where the connection was reset."""

    fault: Kind | None
    """What went wrong on purpose."""

    size: int
    """Bytes of the body that the client was sent."""

    @property
    def kind(self) -> str:
        """`GET object`, `GET list` and so on."""
        return f"{self.method} {'object' if self.key else 'list'}"


@dataclass(kw_only=True)
class FaultProxy:
    """A running proxy; its faults may be changed while it runs."""

    server: str
    """HOST:PORT of the S3 server."""

    faults: list[Fault]
    """The first that concerns a request happens to it."""

    endpoint: str = ""
    """http://127.0.0.1:PORT, where clients go."""

    log: list[Exchange] = field(default_factory=list)
    """All requests, in the order of their ends."""

    draws: random.Random = field(default_factory=lambda: random.Random(0))
    """Decides which of a share fail."""

    _used: Counter[tuple[int, str]] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)
    _under_way: int = 0
    _quiet: Condition = field(default_factory=Condition)
    _stalled: set[socket.socket] = field(default_factory=set)

    def exchanges(self) -> list[Exchange]:
        """All requests up to now: a client may have its answer before the answer stands in the log."""
        with self._quiet:
            self._quiet.wait_for(lambda: self._under_way == 0, timeout=TIMEOUT)
        return list(self.log)

    def requests(self) -> Counter[str]:
        """How many requests of which kind."""
        return Counter(exchange.kind for exchange in self.exchanges())

    def failed(self) -> Counter[Kind]:
        """How many requests failed, by fault."""
        return Counter(exchange.fault for exchange in self.exchanges() if exchange.fault)

    def of(self, key: str, method: str | None = None) -> list[Exchange]:
        """The requests for a key or a pattern of keys."""
        return [entry for entry in self.exchanges() if fnmatchcase(entry.key, key) and method in (None, entry.method)]

    def choose(self, method: str, key: str) -> Fault | None:
        """The fault that happens to this request."""
        with self._lock:
            for number, fault in enumerate(self.faults):
                if method not in fault.methods or not fnmatchcase(key, fault.keys):
                    continue
                place = (number, "" if fault.together else key)
                if fault.times is not None and self._used[place] >= fault.times:
                    continue
                if fault.share < 1.0 and self.draws.random() >= fault.share:
                    continue
                self._used[place] += 1
                return fault
        return None

    def told(self, exchange: Exchange) -> None:
        """Keep a request in the log."""
        with self._lock:
            self.log.append(exchange)

    @contextmanager
    def answering(self, step: int = 1) -> Iterator[None]:
        """A request is being answered meanwhile; or, with -1, it only stands still."""
        with self._quiet:
            self._under_way += step
            self._quiet.notify_all()
        try:
            yield
        finally:
            with self._quiet:
                self._under_way -= step
                self._quiet.notify_all()

    def hold(self, connection: socket.socket) -> None:
        """Wait until the client or the proxy gives up."""
        with self._lock:
            self._stalled.add(connection)
        with self.answering(-1), suppress(OSError):
            while connection.recv(2**16):
                pass

    def release(self) -> None:
        """End all connections that stand still."""
        with self._lock:
            for connection in self._stalled:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultProxy
    protocol_version = "HTTP/1.1"
    # An answer goes in two writes; the second must not wait for the first's receipt.
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def answer(self) -> None:
        if "Transfer-Encoding" in self.headers:
            self.send_error(501, "this proxy takes bodies with a Content-Length")
            return
        length = int(self.headers.get("Content-Length") or 0)
        asked = self.rfile.read(length)
        if len(asked) < length:
            # The client was killed in the middle of its upload: no store takes a part of an object.
            self.close_connection = True
            return
        with self.proxy.answering():
            key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]
            fault = self.proxy.choose(self.command, key)
            kind = fault.kind if fault else None
            try:
                status, size = self.played(fault, asked)
            except OSError:
                # The client is gone, or the server is.
                status, size = None, 0
                self.close_connection = True
            self.proxy.told(Exchange(method=self.command, key=key, status=status, fault=kind, size=size))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def played(self, fault: Fault | None, asked: bytes) -> tuple[int | None, int]:
        """Answer, with the fault if there is one: the status and the bytes of body that the client was sent."""
        kind = fault.kind if fault else None
        if kind == "slow_down":
            headers = [("Content-Type", "application/xml")]
            return 503, self.send(503, headers, SLOW_DOWN if self.command != "HEAD" else b"", len(SLOW_DOWN))
        if kind == "reset":
            return self.reset()
        status, headers, body, length = self.forwarded(asked)
        if kind == "lost":
            return self.reset()
        here = min(int(len(body) * fault.at), max(0, len(body) - 1)) if fault else 0
        if kind == "flip" and body:
            body = body[:here] + bytes([body[here] ^ 1]) + body[here + 1 :]
        elif kind == "cut":
            body, length = body[:here], here if body else length
        elif kind in ("drop", "stall") and body:
            sent = self.send(status, headers, body[:here], length)
            self.close_connection = True
            if kind == "stall":
                self.proxy.hold(self.connection)
            return status, sent
        return status, self.send(status, headers, body, length)

    def forwarded(self, asked: bytes) -> tuple[int, list[tuple[str, str]], bytes, int]:
        """What the server answers: status, headers, body, and the length it states (that of a HEAD has no body)."""
        upstream = http.client.HTTPConnection(self.proxy.server, timeout=TIMEOUT)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOPS:
                    upstream.putheader(name, value)
            upstream.putheader("Connection", "close")
            upstream.endheaders(asked or None)
            response = upstream.getresponse()
            body = response.read()
            headers = [
                (name, value)
                for name, value in response.getheaders()
                if name.lower() not in HOPS and name.lower() != "content-length"
            ]
            stated = response.getheader("Content-Length")
            return response.status, headers, body, int(stated) if stated is not None else len(body)
        finally:
            upstream.close()

    def send(self, status: int, headers: Sequence[tuple[str, str]], body: bytes, length: int) -> int:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        return len(body)

    def reset(self) -> tuple[None, int]:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Closed below Python, which would end the stream in good order first.
        os.close(self.connection.detach())
        self.close_connection = True
        return None, 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        # Clients that are killed leave connections half way; that is what the tests are about.
        pass


@contextmanager
def fault_proxy(server: str, *faults: Fault, seed: int = 0) -> Iterator[FaultProxy]:
    """A proxy before the server (its http:// endpoint) for the length of a `with`, in threads of this process."""
    proxy = FaultProxy(server=urlsplit(server).netloc, faults=list(faults), draws=random.Random(seed))
    listener = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    proxy.endpoint = f"http://127.0.0.1:{listener.server_port}"
    thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.release()
        listener.shutdown()
        listener.server_close()
        thread.join()
