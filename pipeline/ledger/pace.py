"""How fast shards end, over the last minutes of a job of any length. It knows no clock: times are handed in."""

from collections import deque
from dataclasses import dataclass

WINDOW_SECONDS = 300.0
"""Span that a rate is taken over: long enough that shards' ends even out, short enough to follow machines that come
and go."""

SLOT_SECONDS = 5.0
"""What ends within so long is kept as one number, so that memory and work are the same for any number of shards."""

LEAST_SHARDS = 20
"""The span goes back further than the window until it holds so many shards: large ones end rarely, or many at once."""


@dataclass(slots=True)
class _Slot:
    start: float
    shards: int = 0
    images: int = 0


class Pace:
    """Shards and images a second, as they were lately."""

    def __init__(self, now: float) -> None:
        self._slots: deque[_Slot] = deque()
        self._since = now
        self._shards = 0
        self._images = 0

    def add(self, now: float, images: int) -> None:
        """A shard of so many images ended."""
        if not self._slots or now >= self._slots[-1].start + SLOT_SECONDS:
            self._slots.append(_Slot(now))
        self._slots[-1].shards += 1
        self._slots[-1].images += images
        self._shards += 1
        self._images += images
        self._forget(now)

    def images_a_second(self, now: float) -> float | None:
        """Images a second; None before the first shard ended."""
        return self._images / self._span(now) if self._shards else None

    def seconds_for(self, shards: int, now: float) -> float | None:
        """How long so many more shards take at this pace; None before the first shard ended."""
        return shards * self._span(now) / self._shards if self._shards else None

    def _span(self, now: float) -> float:
        # When shards stop ending the span grows, and the rate falls as it should.
        return max(now - self._since, 1.0)

    def _forget(self, now: float) -> None:
        while self._shards - self._slots[0].shards >= LEAST_SHARDS:
            end = self._slots[0].start + SLOT_SECONDS
            if end > now - WINDOW_SECONDS:
                return
            oldest = self._slots.popleft()
            self._shards -= oldest.shards
            self._images -= oldest.images
            self._since = end


def duration(seconds: float) -> str:
    """A time for people, to about two digits: 45 s, 12 min, 3 h 20 min, 4.2 days."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes / 1440:.1f} days"
