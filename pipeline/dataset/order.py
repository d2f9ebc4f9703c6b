"""Which samples a consumer reads, in which order: arithmetic on counts alone. Nothing is opened here.

Every number follows from counts, seed, epoch and the consumer's place, so that a reader resumes by counting, and no two
consumers read one sample.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from maskmill.models.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Consumer:
    """One of those that share an epoch: a worker process of a rank."""

    index: int = 0
    """Its place, from 0."""

    count: int = 1
    """How many there are."""

    def __post_init__(self) -> None:
        assert 0 <= self.index < self.count, f"consumer {self.index} of {self.count}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Labeled samples of one shard that lie one after the other."""

    shard: int
    """Position of the shard among the table's."""

    start: int
    """First of them, counted over the shard's labeled samples."""

    stop: int
    """One after the last."""


def spans(
    counts: Sequence[int], consumer: Consumer, *, shuffled: tuple[int, int] | None, length: int | None = None
) -> list[Span]:
    """A consumer's part of an epoch: an equal share of the samples, give or take one, of as few shards as possible.

    Args:
        counts: labeled samples of each shard.
        consumer: whose part.
        shuffled: seed and epoch that the order of shards follows from; None keeps the table's.
        length: samples that every consumer shall have (`equal_share`): one of a neighbour's more, or one less.
    """
    order = list(range(len(counts)))
    if shuffled is not None:
        order = np.random.Generator(np.random.PCG64(np.random.SeedSequence(shuffled))).permutation(len(counts)).tolist()
    ends = [0, *accumulate(counts[shard] for shard in order)]
    total = ends[-1]
    first, last = (total * place // consumer.count for place in (consumer.index, consumer.index + 1))
    if length is not None:
        first = min(first, total - length)
        last = first + length
    found = []
    for shard, start, stop in zip(order, ends[:-1], ends[1:], strict=True):
        low, high = max(first, start), min(last, stop)
        if low < high:
            found.append(Span(shard=shard, start=low - start, stop=high - start))
    return found


def equal_share(counts: Sequence[int], consumers: int, *, pad: bool) -> int:
    """Samples that every consumer yields where all must yield as many: the most that one has if padded, else the least.

    Raises:
        UsageError: there are fewer samples than consumers, so that some would have none.
    """
    total = sum(counts)
    if total < consumers:
        raise UsageError(
            f"{total} labeled samples for {consumers} readers (ranks x workers): expected one each at least. "
            "Take fewer workers, or more shards."
        )
    return -(-total // consumers) if pad else total // consumers


class Shuffle:
    """The places of a bounded shuffle: each item of a stream goes to a slot, and who was there before leaves.

    Args:
        size: slots; 1 keeps the order.
        seed: what the choices follow from.
    """

    def __init__(self, size: int, seed: Sequence[int]) -> None:
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(seed))))
        self._slots: list[int] = []
        self._size = size

    def over(self, length: int) -> Iterator[int]:
        """Positions 0 to length - 1 of the stream, each once, none before the slots are full or the stream ends."""
        for position in range(length):
            if len(self._slots) < self._size:
                self._slots.append(position)
                continue
            slot = int(self._rng.integers(self._size))
            leaving, self._slots[slot] = self._slots[slot], position
            yield leaving
        for slot in self._rng.permutation(len(self._slots)).tolist():
            yield self._slots[slot]
