"""Whole shards as a replica labels them, and the same batches through the model alone: what feeding it costs."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from maskmill.models.resize import ImageBatch
from maskmill.models.segmenter import ClassFeatures, Segmenter
from maskmill.pipeline.bench.replica import label, labeler
from maskmill.pipeline.bench.results import Row
from maskmill.pipeline.bench.stages import row_of
from maskmill.pipeline.bench.timing import Peak, Stopwatch, Timing
from maskmill.pipeline.config import InferenceConfig
from maskmill.pipeline.labeling.batching import BatchCounts
from maskmill.pipeline.labeling.labeling import Labeler
from maskmill.pipeline.labeling.model_thread import Labeled, ModelThread
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.reading.decoding import DecodingConfig
from maskmill.pipeline.shards.shard import Shard

IN_FLIGHT = 2
"""Shards that a replica has in work at once (pipeline.cluster.labeling), so that one is published while the next is
read; made-up shards are as many."""

HELD_BYTES = 1 << 30
"""Batches that are held for the model alone, in bytes of pixels: all of made-up shards as a rule, the first of larger
ones."""

TOLD_SIZES = 4
"""Padded sizes that are named in a row, those of most batches."""


@dataclass(kw_only=True, slots=True)
class Heard:
    """What the model was given for the shards."""

    batches: list[ImageBatch] = field(default_factory=list)
    """The first batches, as long as `HELD_BYTES` holds them."""

    held: int = 0
    """Their bytes."""

    counts: BatchCounts = field(default_factory=BatchCounts)
    """Of all batches."""

    def batch(self, batch: ImageBatch, full: int) -> None:
        """Hear of a batch; `full` images would fill it."""
        self.counts.left(batch.sizes, (batch.pixels.shape[-2], batch.pixels.shape[-1]), full)
        if self.held + batch.pixels.nbytes <= HELD_BYTES:
            self.held += batch.pixels.nbytes
            self.batches.append(batch)

    def __str__(self) -> str:
        counts = self.counts
        most = sorted(counts.sizes.items(), key=lambda one: -one[1])[:TOLD_SIZES]
        common = ", ".join(f"{number} of {width} x {height}" for (height, width), number in most)
        others = len(counts.sizes) - len(most)
        return (
            f"{counts.padding / counts.pixels:.1%} padding, {counts.short_images / counts.images:.0%} of images in "
            f"batches that aren't full; batches: {common}" + (f", {others} more sizes" if others else "")
        )


class _OverheardThread(ModelThread):
    """A model thread that tells of its batches while somebody listens."""

    heard: Heard | None = None
    batch_size = 1

    def submit(self, batch: ImageBatch) -> Future[Labeled]:
        """See `ModelThread.submit`."""
        if self.heard is not None:
            self.heard.batch(batch, self.segmenter.rule.in_batch(batch.sizes[0], self.batch_size))
        return super().submit(batch)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """One run over all shards, or over the batches that are held."""

    seconds: float
    cpu_seconds: float
    rows: tuple[LedgerRow, ...] = ()


def whole_shards(
    part: str,
    shards: Sequence[Shard],
    watch: Stopwatch,
    *,
    segmenter: Segmenter,
    classes: ClassFeatures,
    form: InferenceConfig,
    batch_size: int,
    folder: Path,
    against_model: bool,
    decoding: DecodingConfig,
) -> Row:
    """A row of labeling all shards, two at a time as in a replica.

    Args:
        part: the row's name.
        shards: what is labeled, anew in each run.
        watch: how often, and with how many threads.
        segmenter: the model.
        classes: what is asked about.
        form: how segments are made.
        batch_size: images in a full batch.
        folder: local, for scratch and label files.
        against_model: also run the model alone, by turns with the shards, over the batches that it had from them, and
            tell the share of its rate that the shards reach.
        decoding: who decodes and resizes.
    """
    heard = Heard()
    runs: list[tuple[_Run, _Run | None]] = []
    with (
        labeler(
            segmenter,
            classes,
            folder,
            form,
            batch_size=batch_size,
            threads=watch.threads,
            thread=_OverheardThread,
            decoding=decoding,
        ) as replica,
        ThreadPoolExecutor(IN_FLIGHT) as calls,
    ):
        assert isinstance(replica.model, _OverheardThread)
        replica.model.batch_size = batch_size
        replica.model.heard = heard
        _labeled(shards, replica, calls)
        replica.model.heard = None
        if against_model:
            _alone(heard, replica)
        peak = Peak(watch.device)
        for _ in range(watch.repeats):
            run = _labeled(shards, replica, calls)
            runs.append((run, _alone(heard, replica) if against_model else None))
        most = peak.bytes()
    rows = runs[0][0].rows
    images = sum(row.counts.read for row in rows)
    timing = Timing.of([run.seconds for run, _ in runs], most)
    busy = median(sum((row.seconds or {})["model"] for row in run.rows) / run.seconds for run, _ in runs)
    share = around = None
    note = f"{len(shards)} shards, {watch.threads} threads, model busy {busy:.0%} of the time"
    alone = [(run, model) for run, model in runs if model is not None]
    if alone:
        held = sum(map(len, heard.batches))
        share = median((images / run.seconds) / (held / model.seconds) for run, model in alone)
        around = median(
            (run.cpu_seconds - model.cpu_seconds * images / held) / (run.seconds * watch.threads)
            for run, model in alone
        )
        each = median(run.cpu_seconds for run, _ in alone) / images * 1e3
        models = median(model.cpu_seconds for _, model in alone) / held * 1e3
        note = (
            f"{share:.0%} of the model alone; {each:,.1f} ms of CPU time an image, {models:,.1f} of them the model's, "
            f"the rest took {around:.0%} of the CPUs; {note}; {heard}"
        )
    return row_of(
        part,
        timing,
        images,
        cpu_seconds=median(run.cpu_seconds for run, _ in runs) / images,
        bytes_read=sum(shard.size or 0 for shard in shards),
        bytes_written=sum(row.bytes or 0 for row in rows),
        share=share,
        around=around,
        note=note,
    )


def _labeled(shards: Sequence[Shard], replica: Labeler, calls: ThreadPoolExecutor) -> _Run:
    """Label all shards, as many at once as `calls` has threads."""
    started, before = time.perf_counter(), time.process_time()
    rows = tuple(calls.map(lambda shard: label(shard, replica), shards))
    return _Run(seconds=time.perf_counter() - started, cpu_seconds=time.process_time() - before, rows=rows)


def _alone(heard: Heard, replica: Labeler) -> _Run:
    """Give the model the batches it had before, on its thread, all ready in memory."""
    started, before = time.perf_counter(), time.process_time()
    for future in [replica.model.submit(batch) for batch in heard.batches]:
        future.result()
    return _Run(seconds=time.perf_counter() - started, cpu_seconds=time.process_time() - before)
