"""What one statement may take: bytes of memory and seconds, and a wait for DuckDB that Ctrl-C ends."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from maskmill.models.errors import UsageError

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")

MEMORY_SHARE = 0.25
"""Of the machine's memory, what a statement may take by default."""

LEAST_MEMORY = 10**9
"""Bytes of the default on small machines."""

SECONDS = 3600.0
"""Default of the longest wait for DuckDB."""

GRACE = 2.0
"""Seconds that DuckDB has to stop when it is interrupted; one call of a function isn't interrupted."""

LOOK_SECONDS = 0.2
"""Longest that a signal waits."""

OVERHEAD = 2**30
"""Bytes beyond a statement's memory that the process may allocate: stacks of threads and what allocators keep."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one statement may take."""

    memory: int | None = None
    """Bytes; None: `MEMORY_SHARE` of the machine's."""

    seconds: float = SECONDS
    """Of waiting for DuckDB."""

    @property
    def bytes(self) -> int:
        """Bytes of memory."""
        return self.memory or max(int(MEMORY_SHARE * machine_memory()), LEAST_MEMORY)


def machine_memory() -> int:
    """Bytes of memory of this machine, or of this container."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max", or no such file
            found = min(found, int(Path(place).read_text()))
    return found


@contextmanager
def process_memory(limits: Limits) -> Iterator[None]:
    """Let this process allocate no more than a statement may take: DuckDB's own limit leaves out single values.

    It holds for all of the process, on Linux; a command may use it, a library not.
    """
    used = _allocated()
    if used is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = used + limits.bytes + OVERHEAD
    if soft == resource.RLIM_INFINITY or most < soft:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _allocated() -> int | None:
    """Bytes that count for RLIMIT_DATA; None where no kernel tells."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmData:")).split()[1]) * 1024
    return None


class Statement:
    """A connection that works on a thread of its own, so that waiting for it ends at Ctrl-C and after some time.

    A thread that doesn't stop is left behind, and ends with the process.
    """

    def __init__(self, connection: "duckdb.DuckDBPyConnection", seconds: float) -> None:
        """
        Args:
            connection: used by this alone from now on, and closed at the end.
            seconds: of waiting, all calls together.
        """
        self._connection = connection
        self._seconds = self._left = seconds
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="duckdb", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T]) -> T:
        """What a function returns or raises that uses the connection.

        Raises:
            UsageError: there is no time left.
        """
        future: Future[T] = Future()
        self._calls.put((function, future))
        while self._left > 0:
            started = time.monotonic()
            # Python answers signals between two waits, whichever thread they reached.
            if wait([future], min(self._left, LOOK_SECONDS)).done:
                return future.result()
            self._left -= time.monotonic() - started
        raise UsageError(f"SQL: no answer in {self._seconds:g} s. Ask for less, or give it longer: --timeout SECONDS.")

    def __enter__(self) -> "Statement":
        return self

    def __exit__(self, *raised: object) -> None:
        """Stop what is under way."""
        import duckdb

        self._calls.put(None)
        # Again and again, since DuckDB forgets an interruption that comes just before a statement begins.
        end = time.monotonic() + GRACE
        while self._thread.is_alive() and time.monotonic() < end:
            with suppress(duckdb.ConnectionException):  # closed meanwhile: the thread has ended
                self._connection.interrupt()
            self._thread.join(LOOK_SECONDS)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            function, future = call
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
        self._connection.close()
