"""Which samples a consumer reads, in which order: arithmetic on counts alone. Nothing is opened here.

Every number follows from counts, seed, epoch and the consumer's place, so that a reader resumes by counting, and no two
consumers read one sample.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np

from maskmill.models.errors import UsageError

Steps = Literal["exact", "pad", "drop"]
"""How samples that don't divide by the ranks are shared: as they are, some repeated, or some left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Consumer:
    """One of those that share an epoch: a worker process of a rank."""

    rank: int = 0
    """Which of the processes that train together, from 0."""

    world: int = 1
    """How many processes train together."""

    worker: int = 0
    """Which of the rank's worker processes, from 0."""

    workers: int = 1
    """How many a rank has."""

    def __post_init__(self) -> None:
        assert 0 <= self.rank < self.world, f"rank {self.rank} of {self.world}"
        assert 0 <= self.worker < self.workers, f"worker {self.worker} of {self.workers}"

    @property
    def index(self) -> int:
        """Its place among all consumers, from 0."""
        return self.rank * self.workers + self.worker


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Labeled samples of one shard that lie one after the other."""

    shard: int
    """Position of the shard among the table's."""

    start: int
    """First of them, counted over the shard's labeled samples."""

    stop: int
    """One after the last."""


def rank_share(total: int, rank: int, world: int, steps: Steps) -> range:
    """A rank's samples of an epoch, as positions: an equal part of them, give or take one.

    Args:
        total: labeled samples of the epoch.
        rank: whose part.
        world: how many ranks there are.
        steps: exact gives every position to one rank; pad and drop give all ranks equally many, so that less than one a
            rank is repeated or left out.

    Raises:
        UsageError: pad or drop, and there are fewer samples than ranks.
    """
    first, last = (total * place // world for place in (rank, rank + 1))
    if steps == "exact":
        return range(first, last)
    if total < world:
        raise UsageError(
            f"{total} labeled samples for {world} ranks: expected one each at least. Take fewer ranks, or more shards."
        )
    length = -(-total // world) if steps == "pad" else total // world
    first = min(first, total - length)
    return range(first, first + length)


def worker_share(share: range, worker: int, workers: int, batch_size: int) -> range:
    """A worker's part of its rank's samples: whole batches, but for the last one of the rank.

    A rank then has ceil(samples / batch_size) batches however many workers it has.
    """
    batches = -(-len(share) // batch_size)
    first, last = (batches * place // workers * batch_size for place in (worker, worker + 1))
    return share[first:last]


def spans(counts: Sequence[int], share: range, *, shuffled: tuple[int, int] | None) -> list[Span]:
    """What positions of an epoch are in terms of shards, of as few of them as possible.

    Args:
        counts: labeled samples of each shard.
        share: the positions.
        shuffled: seed and epoch that the order of shards follows from; None keeps the table's.
    """
    order = list(range(len(counts)))
    if shuffled is not None:
        order = np.random.Generator(np.random.PCG64(np.random.SeedSequence(shuffled))).permutation(len(counts)).tolist()
    ends = [0, *accumulate(counts[shard] for shard in order)]
    found = []
    for shard, start, stop in zip(order, ends[:-1], ends[1:], strict=True):
        low, high = max(share.start, start), min(share.stop, stop)
        if low < high:
            found.append(Span(shard=shard, start=low - start, stop=high - start))
    return found


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
