"""Ends a process whose shards stopped making progress, so that who started it starts it again. It restarts nothing."""

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from maskmill.pipeline.shards.shard import Shard

EXIT_CODE = 75
"""Exit code of a process that ended itself: sysexits.h's EX_TEMPFAIL, try again."""

LAST_WORDS_SECONDS = 30.0
"""How long the records of a stall may take: the store may be what hangs."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class InFlight:
    """A shard that is being labeled."""

    shard: Shard
    """Which."""

    attempt: int | None
    """Which attempt at it this is, over all jobs; None if nobody counted."""


class Watchdog:
    """Watches all shards of this process together: while any of them moves, none is taken to hang.

    One clock for all, because they share what hangs: the model thread, the decoders, the store's client. A shard that
    hangs alone holds one place of its replica until the others are through, and is found then, with no neighbour.
    """

    def __init__(
        self,
        seconds: float,
        stalled: Callable[[list[InFlight], float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            seconds: silence after which shards in flight count as stalled.
            stalled: called once, from the watchdog's thread, with the shards in flight and the seconds of silence.
            clock: seconds that never go back.
        """
        self._seconds = seconds
        self._stalled = stalled
        self._clock = clock
        self._lock = threading.Lock()
        self._in_flight: list[InFlight] = []
        self._fed = clock()
        self._barked = False

    def feed(self) -> None:
        """Something moved: bytes arrived, a sample was decoded, a batch labeled, a row group written."""
        self._fed = self._clock()

    @contextmanager
    def watching(self, shard: Shard, attempt: int | None = None) -> Iterator[None]:
        """A shard is in flight for as long as the context lasts."""
        mine = InFlight(shard=shard, attempt=attempt)
        with self._lock:
            self._in_flight.append(mine)
        self.feed()
        try:
            yield
        finally:
            with self._lock:
                self._in_flight = [other for other in self._in_flight if other is not mine]
            self.feed()

    def look(self) -> None:
        """Call `stalled` if shards are in flight and nothing was fed for too long."""
        with self._lock:
            in_flight, silent = list(self._in_flight), self._clock() - self._fed
            if self._barked or not in_flight or silent < self._seconds:
                return
            self._barked = True
        self._stalled(in_flight, silent)

    def start(self) -> None:
        """Look now and then, on a thread of its own, until the process ends."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def _run(self) -> None:
        # A stall is found late by this much at most.
        pause = min(self._seconds / 4, 15.0)
        while True:
            # Where a thread holds the interpreter's lock and hangs, this thread never runs again: then a timer that
            # needs no lock dumps the stacks and ends the process. Nothing can be put on record by it.
            faulthandler.dump_traceback_later(self._seconds + pause, exit=True, file=2)
            time.sleep(pause)
            self.look()


def bounded(work: Callable[[], object], seconds: float = LAST_WORDS_SECONDS) -> bool:
    """Do what may hang on a thread of its own, and don't wait longer than so many seconds.

    Returns:
        Whether it came back in time; what it raised is logged.
    """

    def run() -> None:
        try:
            work()
        except Exception:
            _log.exception("last words")

    thread = threading.Thread(target=run, name="last-words", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def end_process(why: str) -> NoReturn:
    """End this process at once, with the stacks of all its threads on stderr; Ray starts it again and retries.

    No `finally` runs and no thread is waited for: a thread that hangs in a driver can't be ended in any other way.
    """
    _log.error("this process ends itself: %s", why)
    for handler in logging.getLogger().handlers:
        handler.flush()
    try:
        faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)
    finally:
        os._exit(EXIT_CODE)
