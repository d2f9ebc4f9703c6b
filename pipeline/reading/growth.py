"""Says when a file grows: the one sign of a moving download that all drivers give. Downloads nothing itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

EVERY_SECONDS = 1.0
"""How often the size is looked at."""


@contextmanager
def watched(path: Path, grown: Callable[[], None], *, every: float = EVERY_SECONDS) -> Iterator[None]:
    """Call `grown` from another thread while the file gets larger, for as long as the context lasts.

    Drivers' own callbacks are not used: some tell only at the end, and some download in a slower way to tell at all.
    """
    ended = Event()

    def watch() -> None:
        seen = 0
        while not ended.wait(every):
            size = _size(path)
            if size > seen:
                grown()
            seen = size

    thread = Thread(target=watch, name="growth", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # not begun, or begun anew
        return 0
