"""Walks source shards and their label files together: a PyTorch data set of images with labels.

One pass over each tar, no random access. Which samples come when is order.py's; what a sample is, sample.py's.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch.distributed
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.dataset.order import Consumer, Shuffle, Span, equal_share, spans
from maskmill.pipeline.dataset.sample import LabeledImage
from maskmill.pipeline.dataset.walk import Raw, Walk
from maskmill.pipeline.ledger.status import status
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards.moved import UNMOVED, ShardsAt
from maskmill.pipeline.shards.planning import shards_of
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores import stores
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run

Steps = Literal["exact", "pad", "drop"]

_log = logging.getLogger(__name__)


class LabeledImages(IterableDataset[LabeledImage]):
    """The labeled samples of a run, each exactly once an epoch over all ranks and workers.

    Failed samples are left out; a sample none of whose segments passes the filter comes with no masks. The ledger's
    counts say who reads what: every reader gets a run of samples in shard order, of equal length give or take one.

    It has `state_dict` and `load_state_dict`, so that torchdata's StatefulDataLoader resumes in the middle of an epoch;
    plain DataLoader works too. With either, pass `collate_fn=maskmill.collate`, or `batch_size=None`.

    Args:
        output: --output of a `label`, open or sealed; a path or any fsspec URL.
        keep: which segments count.
        shards: sources of the shards to read, as `label` takes them; all done ones by their recorded names if None.
        shuffle: samples of a reader's bounded shuffle; 0 keeps the table's order. From 1 on shards are shuffled too.
        seed: of the order.
        steps: exact gives each sample once; pad repeats and drop leaves out at most one sample a reader, so that all
            readers yield as many, as DistributedDataParallel needs. How many is told: a warning in the log.
        rank: this process among those that train together; torch.distributed's, else RANK's, else 0.
        world: how many train together; torch.distributed's, else WORLD_SIZE's, else 1.
        scratch: local folder for shards that lie in a store; the system's temporary folder if None.
        shards_at: folders or URLs that shards were labeled in, and where they lie now.

    Raises:
        UsageError: no run there, no done shard, a filter that doesn't fit the run.
    """

    def __init__(
        self,
        output: str,
        *,
        keep: SegmentFilter = SegmentFilter(),
        shards: Sequence[str] | None = None,
        shuffle: int = 0,
        seed: int = 0,
        steps: Steps = "exact",
        rank: int | None = None,
        world: int | None = None,
        scratch: Path | None = None,
        shards_at: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._output = Output.of(output)
        self.vocabulary: Vocabulary = vocabulary_of_run(self._output)
        self._walk = Walk.of(self._output, keep, Path(tempfile.gettempdir()) if scratch is None else scratch)
        self._shards, self._counts = done_shards(self._output, shards, ShardsAt.of(shards_at or {}))
        self._shuffle, self._seed, self._steps = shuffle, seed, steps
        self._rank, self._world = _place(rank, world)
        self._epoch = self._taken = self._resumed = 0
        self._stores = stores.used()

    def __len__(self) -> int:
        """Labeled samples of an epoch, over all ranks."""
        return sum(self._counts)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, from 0; without it, an epoch follows the one before only in workers that persist."""
        self._epoch, self._taken, self._resumed = epoch, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Where this reader is: epoch, and samples yielded of it."""
        return {"epoch": self._epoch, "taken": self._taken, "order": self._order()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, with the sample after.

        Raises:
            UsageError: it belongs to another table, seed, shuffle, or number of readers.
        """
        if state["order"] != self._order():
            raise UsageError(
                f"{self._output.url}: the position to resume from was taken with other shards, seed, shuffle, steps, "
                "ranks or workers. Resume with the same ones, or begin an epoch with set_epoch."
            )
        self._epoch, self._resumed = int(state["epoch"]), int(state["taken"])
        self._taken = self._resumed

    def __iter__(self) -> Iterator[LabeledImage]:
        stores.use(self._stores)  # a worker that was spawned has forgotten them
        self._taken, self._resumed = self._resumed, 0
        part, length = self._part()
        order = Shuffle(max(1, self._shuffle), (self._seed, self._epoch, self._consumer().index)).over(length)
        wanted = _left(order, self._taken, length)
        with closing(self._read(part, wanted)) as stream:
            waiting: dict[int, Raw] = {}
            for position in order:
                while position not in waiting:
                    came, raw = next(stream)
                    waiting[came] = raw
                image = self._walk.decoded(waiting.pop(position))
                self._taken += 1
                yield image
        self._epoch, self._taken = self._epoch + 1, 0

    def _part(self) -> tuple[list[Span], int]:
        """This reader's spans of the epoch under way, and how many samples they hold."""
        consumer = self._consumer()
        length = None
        if self._steps != "exact":
            length = equal_share(self._counts, consumer.count, pad=self._steps == "pad")
            changed = abs(length * consumer.count - len(self))
            what = "repeats" if self._steps == "pad" else "leaves out"
            if consumer.index == 0:
                _log.warning("%s: %d samples for each of %d readers; %s %d of %d", self._output.url, length,
                          consumer.count, what, changed, len(self))  # fmt: skip
        shuffled = (self._seed, self._epoch) if self._shuffle else None
        part = spans(self._counts, consumer, shuffled=shuffled, length=length)
        return part, sum(span.stop - span.start for span in part)

    def _consumer(self) -> Consumer:
        worker = get_worker_info()
        index, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return Consumer(index=self._rank * count + index, count=self._world * count)

    def _order(self) -> str:
        """All that the order of samples follows from, as a hash."""
        consumer = self._consumer()
        stated = [self._seed, self._shuffle, self._steps, consumer.index, consumer.count, self._counts]
        names = [shard.url for shard in self._shards]
        return hashlib.sha256(repr((stated, names)).encode()).hexdigest()[:16]

    def _read(self, part: Sequence[Span], wanted: NDArray[np.bool_]) -> Generator[tuple[int, Raw], None, None]:
        """The wanted samples of a part with their positions in it, one pass over each shard."""
        table = LabelTable(self._output)
        first = 0
        for span in part:
            mine = wanted[first : first + span.stop - span.start]
            if mine.any():
                last = int(np.flatnonzero(mine)[-1]) + 1
                with closing(self._walk.samples(table, self._shards[span.shard])) as samples:
                    for place, raw in enumerate(islice(samples, span.start, span.start + last)):
                        if mine[place]:
                            yield first + place, raw
            first += span.stop - span.start


def _left(order: Iterator[int], taken: int, length: int) -> NDArray[np.bool_]:
    """Positions that are still to be yielded once the first `taken` of an order were; advances the order past them."""
    wanted = np.ones(length, bool)
    for position in islice(order, taken):
        wanted[position] = False
    return wanted


def done_shards(
    output: Output, named: Sequence[str] | None, moved: ShardsAt = UNMOVED
) -> tuple[list[Shard], list[int]]:
    """Done shards as they were when they were labeled, and how many labeled samples each has; others are told of."""
    sources = None
    if named is not None:
        sources = {moved.recorded(shard.url): shard.source for shard in shards_of(named, limit=None)}
    now = status(output)
    if sources is None:
        moved.refuse_unused(now.urls("done"))
    found = [row for row in now.rows("done") if sources is None or row.url in sources]
    if not found:
        raise UsageError(f"{redact(output.url)}: none of these shards is labeled there. Label them first.")
    if len(found) < (asked := len(now if sources is None else sources)):
        _log.warning("%s: %d of %d shards are not labeled there; they are left out",
                     redact(output.url), asked - len(found), asked)  # fmt: skip
    shards = [
        Shard(
            url=row.url,
            source=moved.source(row.url) if sources is None else sources[row.url],
            size=row.size,
            etag=row.etag,
        )
        for row in found
    ]
    return shards, [row.counts.labeled for row in found]


def _place(rank: int | None, world: int | None) -> tuple[int, int]:
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    own = torch.distributed.get_rank() if there else int(os.environ.get("RANK", "0"))
    size = torch.distributed.get_world_size() if there else int(os.environ.get("WORLD_SIZE", "1"))
    rank, world = own if rank is None else rank, size if world is None else world
    if not 0 <= rank < world:
        raise UsageError(f"rank {rank} of {world}: expected 0 <= rank < world.")
    return rank, world
