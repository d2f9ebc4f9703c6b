"""Walks source shards and their label files together: a PyTorch data set of images with labels.

One pass over each tar, no random access. Which samples come when is order.py's; what a sample is, sample.py's.
"""

import hashlib
import logging
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from maskmill.models import arguments
from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.dataset.epoch import Epoch
from maskmill.pipeline.dataset.order import Consumer, Shuffle, Span, Steps, rank_share, spans, worker_share
from maskmill.pipeline.dataset.place import Place, distributed, environment
from maskmill.pipeline.dataset.sample import LabeledImage
from maskmill.pipeline.dataset.transform import Transform, transformed
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

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Position:
    """Where an iteration is."""

    epoch: int
    taken: int


class LabeledImages(IterableDataset[LabeledImage]):
    """The labeled samples of a run, each exactly once an epoch over all ranks and workers.

    Failed samples are left out; a sample none of whose segments passes the filter comes with no masks. The ledger's
    counts say who reads what: every rank and worker gets a run of samples in shard order. Rank and world are read when
    an iteration begins: `rank` and `world`, else torch.distributed's, else RANK and WORLD_SIZE.

    Call `set_epoch(n)` before each epoch, as with DistributedSampler; otherwise all epochs have the order of epoch 0.
    `state_dict` and `load_state_dict` let torchdata's StatefulDataLoader resume in the middle of an epoch; plain
    DataLoader works too. With either, pass `collate_fn=maskmill.collate`, or `batch_size=None`.

    Args:
        output: --output of a `label`, open or sealed; a path or any fsspec URL.
        keep: which segments count.
        shards: sources of the shards to read, as `label` takes them; all done ones by their recorded names if None.
        shuffle: samples of a reader's bounded shuffle; 0 keeps the table's order. From 1 on shards are shuffled too.
        seed: of the order, and of a transform's random numbers.
        steps: exact gives each sample once; pad repeats and drop leaves out less than one sample a rank, so that all
            ranks have as many, as DistributedDataParallel needs. A warning in the log says how many.
        batch_size: the DataLoader's. A rank's workers then share whole batches, so that only its last one may be
            smaller, and `len(loader)` is right whatever its `num_workers`.
        transform: `transform(image, target)` on each image and its masks, ignored pixels and soft masks, which a
            torchvision.transforms.v2 transform is; `target` is a dict of tv_tensors.Mask, and pixels that the transform
            adds are ignored. Its random torch numbers follow from seed, epoch and sample.
        rank: this process among those that train together; 0 of 1 for a trainer that divides the data set itself.
        world: how many train together.
        scratch: local folder for shards that lie in a store; the system's temporary folder if None.
        shards_at: folders or URLs that shards were labeled in, and where they lie now.

    Raises:
        UsageError: an argument of another kind, no run there, no done shard, a filter that doesn't fit the run.
    """

    def __init__(
        self,
        output: str | PathLike[str],
        *,
        keep: SegmentFilter = SegmentFilter(),
        shards: Sequence[str] | None = None,
        shuffle: int = 0,
        seed: int = 0,
        steps: Steps = "exact",
        batch_size: int = 1,
        transform: Transform | None = None,
        rank: int | None = None,
        world: int | None = None,
        scratch: Path | None = None,
        shards_at: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        arguments.instance("keep", keep, SegmentFilter, "a filter, such as SegmentFilter(min_score=0.8)")
        named = None if shards is None else arguments.texts("shards", shards)
        arguments.whole("shuffle", shuffle, 0)
        arguments.whole("seed", seed, 0)
        arguments.choice("steps", steps, get_args(Steps))
        arguments.whole("batch_size", batch_size, 1)
        if not (transform is None or callable(transform)):
            raise UsageError(f"transform {transform!r}: expected a function of an image and a dict of masks.")
        for name, place in (("rank", rank), ("world", world)):
            if place is not None:
                arguments.whole(name, place, 0)
        if rank is not None and world is not None:
            Place(rank=rank, world=world)
        if scratch is not None:
            scratch = Path(arguments.location("scratch", scratch))
            if not scratch.is_dir():
                raise UsageError(f"scratch={str(scratch)!r}: no such folder. Make it, or name another.")
        self._output = Output.of(arguments.location("output", output))
        self.vocabulary: Vocabulary = vocabulary_of_run(self._output)
        self._walk = Walk.of(self._output, keep, Path(tempfile.gettempdir()) if scratch is None else scratch)
        self._shards, self._counts = done_shards(self._output, named, ShardsAt.of(shards_at or {}))
        stated = repr(([shard.url for shard in self._shards], self._counts))
        self._read_from = hashlib.sha256(stated.encode()).hexdigest()
        self._shuffle, self._seed, self._steps = shuffle, seed, steps
        self._batch_size, self._transform = batch_size, transform
        self._rank, self._world = rank, world
        self._starter: Place | None = None
        self._epoch = Epoch()
        self._position: _Position | None = None
        self._resumed: _Position | None = None
        self._stores = stores.used()

    def __len__(self) -> int:
        """Samples of an epoch that this rank yields, over all its workers."""
        return len(self._share(self._consumer()))

    def set_epoch(self, epoch: int) -> None:
        """Set the number, from 0, that the order of all iterations from now on follows from, in every worker process.

        Raises:
            UsageError: not a whole number of at least 0.
        """
        arguments.whole("epoch", epoch, 0)
        self._epoch.set(int(epoch))

    def state_dict(self) -> dict[str, Any]:
        """Where the last iteration that began here is: epoch, and samples yielded of it."""
        now = self._resumed or self._position
        if now is None:
            now = _Position(self._epoch.number(worker=get_worker_info() is not None) or 0, 0)
        return {"epoch": now.epoch, "taken": now.taken, "order": self._order()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on from what `state_dict` gave, with the sample after.

        The epoch is the state's where `set_epoch` was never called; where it named another, that one begins whole.

        Raises:
            UsageError: it belongs to another table, seed, shuffle, or number of ranks or workers.
        """
        if state.get("order") != self._order():
            raise UsageError(
                f"{redact(self._output.url)}: the position to resume from was taken with other shards, seed, shuffle, "
                "steps, batch size, ranks or workers. Resume with the same ones, or begin an epoch with set_epoch."
            )
        self._resumed = _Position(int(state["epoch"]), int(state["taken"]))

    def __iter__(self) -> Iterator[LabeledImage]:
        consumer = self._consumer()
        worker = get_worker_info()
        # The seeds of one DataLoader's workers are its own and their numbers.
        number = self._epoch.begin(worker=worker is not None, workers=0 if worker is None else worker.seed - worker.id)
        resumed, self._resumed = self._resumed, None
        position = _Position(number or 0, 0)
        if resumed is not None and number in (None, resumed.epoch):
            position = resumed
        elif resumed is not None and resumed.taken < len(self._mine(consumer)):
            _log.warning("%s: epoch %d begins, as set_epoch says; the rest of epoch %d is left out",
                         redact(self._output.url), position.epoch, resumed.epoch)  # fmt: skip
        self._position = position
        return self._iterate(consumer, position)

    def _iterate(self, consumer: Consumer, position: _Position) -> Iterator[LabeledImage]:
        stores.use(self._stores)  # a worker that was spawned has forgotten them
        part = self._part(consumer, position.epoch)
        length = sum(span.stop - span.start for span in part)
        order = Shuffle(max(1, self._shuffle), (self._seed, position.epoch, consumer.index)).over(length)
        wanted = _left(order, position.taken, length)
        with closing(self._read(part, wanted)) as stream:
            waiting: dict[int, Raw] = {}
            for place in order:
                while place not in waiting:
                    if (read := next(stream, None)) is None:
                        raise UsageError(
                            f"{redact(self._output.url)}: a shard has fewer labeled samples than the ledger says. "
                            "`maskmill verify OUT` names it."
                        )
                    waiting[read[0]] = read[1]
                image = self._walk.decoded(waiting.pop(place))
                if self._transform is not None:
                    image = transformed(image, self._transform, (self._seed, position.epoch))
                position.taken += 1
                yield image
        if consumer.index == 0:
            self._epoch.mark_read()

    def _part(self, consumer: Consumer, epoch: int) -> list[Span]:
        """A consumer's spans of an epoch."""
        share, total = self._share(consumer), sum(self._counts)
        if consumer.index == 0 and self._shuffle and self._epoch.read:
            _log.warning("%s: epoch %d is read again, in the same order. Call set_epoch(n) before each epoch.",
                         redact(self._output.url), epoch)  # fmt: skip
        if consumer.index == 0 and self._steps != "exact" and len(share) * consumer.world != total:
            _log.warning("%s: %d samples for each of %d ranks; %s %d of %d", redact(self._output.url), len(share),
                         consumer.world, "repeats" if self._steps == "pad" else "leaves out",
                         abs(len(share) * consumer.world - total), total)  # fmt: skip
        return spans(self._counts, self._mine(consumer), shuffled=(self._seed, epoch) if self._shuffle else None)

    def _mine(self, consumer: Consumer) -> range:
        """Positions of a consumer's samples in an epoch."""
        return worker_share(self._share(consumer), consumer.worker, consumer.workers, self._batch_size)

    def _share(self, consumer: Consumer) -> range:
        """Positions of its rank's samples."""
        return rank_share(sum(self._counts), consumer.rank, consumer.world, self._steps)

    def _consumer(self) -> Consumer:
        """Who this process is now."""
        worker = get_worker_info()
        place = self._place(in_worker=worker is not None)
        index, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return Consumer(rank=place.rank, world=place.world, worker=index, workers=count)

    def _place(self, *, in_worker: bool) -> Place:
        rank, world = self._rank, self._world
        if rank is None or world is None:
            found = distributed() or (self._starter if in_worker else None) or environment()
            if rank is None and found.world < (world or 1):
                raise UsageError(f"world={world}: expected rank= too, as nothing else says which process this is.")
            rank, world = found.rank if rank is None else rank, found.world if world is None else world
        return Place(rank=rank, world=world)

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker has no process group: it takes the place of the process that starts it.
        return {**self.__dict__, "_starter": distributed() or self._starter}

    def _order(self) -> str:
        """All that the order of samples follows from, as a hash."""
        stated = [self._read_from, self._seed, self._shuffle, self._steps, self._batch_size, self._consumer()]
        return hashlib.sha256(repr(stated).encode()).hexdigest()[:16]

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
    moved.refuse_unused(now.urls("done"))
    found = [row for row in now.rows("done") if sources is None or row.url in sources]
    if not found:
        raise UsageError(
            f"{redact(output.url)}: none of these shards is labeled there. Label them first, or "
            "name where they were labeled: --shards-at OLD=NEW."
        )
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
