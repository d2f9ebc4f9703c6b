"""Labels one shard: a plain function that runs without Ray, in a debugger, a test or a replica."""

import hashlib
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from maskmill.models.errors import UsageError
from maskmill.models.resize import ResizeRule, mask_size
from maskmill.models.scratch import scratch_folder
from maskmill.models.segment import Segment
from maskmill.pipeline import run
from maskmill.pipeline.config import LabelConfig
from maskmill.pipeline.labeling.batching import SOFT_WINDOW_SAMPLES, WINDOW_SAMPLES, Batcher, Prepared, to_batch
from maskmill.pipeline.labeling.model_thread import DeviceLostError, Labeled, ModelThread
from maskmill.pipeline.labeling.preparing import prepare
from maskmill.pipeline.ledger.counts import Counts, Tally
from maskmill.pipeline.ledger.failed_sample import FAILED_SAMPLES, FailedSample
from maskmill.pipeline.ledger.failure import another_run, failure, recorded
from maskmill.pipeline.ledger.ledger import PHASES, LedgerRow
from maskmill.pipeline.output import LABEL_SUFFIX, Output
from maskmill.pipeline.reading.errors import SampleError, ShardError
from maskmill.pipeline.reading.open import OpenShard, open_shard
from maskmill.pipeline.reading.samples import Sample
from maskmill.pipeline.reading.spool import nothing
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores.errors import OutputError, store_errors
from maskmill.pipeline.stores.publish import publish
from maskmill.pipeline.stores.urls import filesystem
from maskmill.pipeline.table.footer import Footer, FooterError, check_file
from maskmill.pipeline.table.rows import LabelRow
from maskmill.pipeline.table.writer import LabelWriter
from maskmill.pipeline.versions import versions

_log = logging.getLogger(__name__)

_Examples = tuple[FailedSample, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Labeler:
    """What a replica holds between shards; `label_shard` may use it from several threads at once."""

    model: ModelThread
    """The thread that owns the device."""

    decoders: ThreadPoolExecutor
    """Threads that decode and resize, shared by the shards in flight."""

    threads: int
    """How many threads `decoders` has."""

    batch_size: int
    """Images in a full batch."""

    config: LabelConfig
    """The run's configuration."""

    output: Output
    """Where label files go."""

    fingerprint: str
    """The run's fingerprint, for footers."""

    alive: Callable[[], None] = nothing
    """Called whenever a shard gets on: bytes arrive, a sample is decoded, a batch labeled, a row group written."""

    @property
    def device(self) -> str:
        """Kind of device that computes the labels, and whether the model is compiled there."""
        device = self.model.segmenter.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return f"{name}, compiled" if self.config.replica.compile else name

    @property
    def replica(self) -> str:
        """Host and process."""
        return f"{socket.gethostname()}:{os.getpid()}"


class _Seconds:
    """Seconds by phase of one shard."""

    def __init__(self) -> None:
        self.by_phase = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def of(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.by_phase[phase] += time.perf_counter() - started


def label_shard(shard: Shard, labeler: Labeler, *, attempt: int | None = None) -> LedgerRow:
    """Label every image of a shard and publish its label file.

    Whatever the shard holds, this returns: a failed sample is a row, a failed shard is a file in failed/ and a row of
    the ledger that says why.

    Args:
        shard: the shard.
        labeler: what a replica holds.
        attempt: which attempt at this shard it is, over all jobs; None counts on from the record in failed/.

    Returns:
        The shard's row of the ledger, done or failed.

    Raises:
        DeviceLostError: the device failed under another shard; nothing was recorded of this one.
    """
    seconds = _Seconds()
    row = LedgerRow(
        url=shard.url,
        size=shard.size,
        etag=shard.etag,
        state="failed",
        replica=labeler.replica,
        attempts=attempt or 1,
        started=datetime.now(UTC),
        seconds=seconds.by_phase,
    )
    try:
        row = _labeled(shard, labeler, row, seconds)
    except DeviceLostError:
        raise
    except Exception as error:  # whatever it is costs one shard and is told; it never ends the job
        why = failure(error)
        if why.reason == "internal":
            _log.exception("shard %s", shard.url)
        row = replace(row, error=str(why))
    row = replace(row, ended=datetime.now(UTC))
    if row.reason == "other_run":
        # failed/ is the other run's, or the label file that stands there says it.
        return row
    try:
        return recorded(row, shard, labeler.output, attempt=attempt)
    except (OutputError, UsageError):
        # The ledger still tells; only what stands in failed/ is not right, and the log says why.
        _log.exception("shard %s: failed/ can't be brought up to date", shard.url)
        return row


def _labeled(shard: Shard, labeler: Labeler, row: LedgerRow, seconds: _Seconds) -> LedgerRow:
    """The row of the shard once its label file is published, or the failed row if too many samples failed."""
    with scratch_folder(labeler.config.replica.scratch) as folder:
        local = folder / "labels.parquet"
        written = _write_labels(shard, labeler, local, seconds)
        counts = written.counts
        row = replace(row, counts=counts)
        if (failed := counts.read - counts.labeled) > labeler.config.job.max_failed_samples * counts.read:
            reasons = ", ".join(f"{reason} {n}" for reason, n in counts.failed.items())
            detail = f"{failed} of {counts.read} samples ({reasons}), as {written.failed[0].stated}"
            return replace(row, error=str(ShardError("too_many_failed", detail)), failed_samples=written.failed)
        with seconds.of("publish"):
            check_file(local)
            labeler.alive()
            _refuse_another_run(labeler)
            if not publish(local, labeler.output.label(shard.label_name), overwrite=shard.replace):
                return _published_before(shard, labeler, row)
        labeler.alive()
        return replace(
            row,
            state="done",
            bytes=local.stat().st_size,
            label_file=shard.label_name + LABEL_SUFFIX,
            label_sha256=written.sha256,
        )


def _refuse_another_run(labeler: Labeler) -> None:
    """Check that OUT still holds this run: not every store can refuse a second run.json.

    Raises:
        ShardError: it holds another one.
    """
    try:
        run.confirm(labeler.output, labeler.fingerprint)
    except run.AnotherRunError as error:
        raise ShardError("other_run", str(error)) from error


def _published_before(shard: Shard, labeler: Labeler, row: LedgerRow) -> LedgerRow:
    """The row of a shard whose label file another replica published, or this one before it was killed."""
    url = labeler.output.label(shard.label_name)
    fs, path = filesystem(url)
    with store_errors(url, "read", FooterError), fs.open(path, "rb") as file:
        try:
            footer = check_file(file)
        except FooterError as error:
            raise ShardError("publish", f"stands there already and is no label file ({error}): {url}") from error
        size = int(fs.size(path))
    if footer.fingerprint != labeler.fingerprint:
        raise another_run(url, footer.fingerprint, labeler.fingerprint)
    if footer.shard != shard.url:
        raise ShardError("publish", f"stands there already and is of another shard: {url}")
    there = LedgerRow.from_footer(footer, size, shard.label_name + LABEL_SUFFIX)
    return replace(there, replica=row.replica, attempts=row.attempts, started=row.started, seconds=row.seconds)


@dataclass(frozen=True, slots=True)
class _Written:
    """A local label file."""

    counts: Counts
    """What the shard held; it is in the file's footer too."""

    failed: _Examples
    """Its first failed samples."""

    sha256: str
    """Of the file, hexadecimal."""


def _write_labels(shard: Shard, labeler: Labeler, local: Path, seconds: _Seconds) -> _Written:
    """Label a shard into a local file."""
    with ExitStack() as opened:
        with seconds.of("download"):
            source = opened.enter_context(open_shard(shard, local.parent, labeler.config.limits, alive=labeler.alive))
        writer = opened.enter_context(LabelWriter(local, shard.url))
        tally = Tally()
        report, failed = source.report, _label_samples(source, writer, labeler, tally, seconds)
        counts = tally.counts(unkeyed=report.unkeyed, truncated=report.truncated, directories=report.directories)
        with seconds.of("encode"):
            writer.finish(_footer(shard, labeler, counts))
    return _Written(counts, failed, writer.sha256)


def _label_samples(
    opened: OpenShard, writer: LabelWriter, labeler: Labeler, tally: Tally, seconds: _Seconds
) -> _Examples:
    """Decode, batch, label and write all samples of an open shard; the first that failed."""
    rule = labeler.model.segmenter.rule
    window = SOFT_WINDOW_SAMPLES if labeler.config.inference.soft_masks else WINDOW_SAMPLES
    batcher = Batcher(rule, labeler.batch_size, window=window)
    waiting: dict[int, LabelRow] = {}
    failed: list[FailedSample] = []
    in_flight: deque[tuple[list[Prepared], Future[Labeled]]] = deque()

    def finish(images: list[Prepared], future: "Future[Labeled]") -> None:
        labeled = future.result()
        labeler.alive()
        seconds.by_phase["model"] += labeled.seconds
        with seconds.of("encode"):
            for image, outcome in zip(images, labeled.outcomes, strict=True):
                write(waiting.pop(image.sample_index), outcome)

    def write(row: LabelRow, outcome: tuple[Segment, ...] | SampleError) -> None:
        tally.warned(row.warnings)
        if isinstance(outcome, SampleError):
            tally.failed(outcome.reason)
            if len(failed) < FAILED_SAMPLES:
                failed.append(FailedSample.of(row.key, row.sample_index, row.members, str(outcome)))
            writer.add(replace(row, error=f"{outcome.reason}: {outcome.detail}"))
        else:
            tally.labeled(outcome)
            writer.add(replace(row, segments=outcome))

    def submit(batches: Iterable[list[Prepared]]) -> None:
        for images in batches:
            in_flight.append((images, labeler.model.submit(to_batch(images, rule, pinned=labeler.model.pinned))))
            while in_flight and (in_flight[0][1].done() or len(in_flight) > labeler.threads):
                finish(*in_flight.popleft())

    for row, outcome, spent in _decoded(opened.samples, labeler, rule):
        labeler.alive()
        seconds.by_phase["decode"] += spent
        if isinstance(outcome, SampleError):
            write(row, outcome)
            submit(batcher.passed(row.sample_index))
        else:
            waiting[row.sample_index] = row
            submit(batcher.add(outcome))
    submit(batcher.rest())
    while in_flight:
        finish(*in_flight.popleft())
    _log.info("batches", extra={"fields": batcher.counts.told()})
    return tuple(failed)


_Decoded = tuple[LabelRow, Prepared | SampleError, float]


def _decoded(samples: Iterable[Sample], labeler: Labeler, rule: ResizeRule) -> Iterator[_Decoded]:
    """Samples decoded on the replica's threads, in shard order, a bounded number ahead."""
    ahead: deque[Future[_Decoded]] = deque()
    for sample in samples:
        # In a copy of the context, so that what a decoder logs names its shard.
        ahead.append(labeler.decoders.submit(copy_context().run, _decode, sample, rule, labeler))
        if len(ahead) > 2 * labeler.threads:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def _decode(sample: Sample, rule: ResizeRule, labeler: Labeler) -> _Decoded:
    """One sample's row so far, its image ready for the model or why not, and the seconds it took."""
    started = time.perf_counter()
    row = LabelRow(
        key=sample.key,
        sample_index=sample.index,
        caption=sample.caption,
        warnings=sample.warnings,
        members=sample.extensions,
        sha256=None if sample.image is None else hashlib.sha256(sample.image).digest(),
    )
    outcome: Prepared | SampleError
    try:
        size, pixels = prepare(sample, rule, labeler.config, labeler.model.segmenter.device)
        masks = mask_size(size, labeler.config.inference.mask_side)
        row = replace(row, size=size, mask_size=masks)
        outcome = Prepared(sample_index=sample.index, pixels=pixels, mask_size=masks)
    except SampleError as error:
        outcome = error
    return row, outcome, time.perf_counter() - started


def _footer(shard: Shard, labeler: Labeler, counts: Counts) -> Footer:
    return Footer(
        fingerprint=labeler.fingerprint,
        shard=shard.url,
        size=shard.size,
        etag=shard.etag,
        counts=counts,
        versions=versions(),
        device=labeler.device,
        batch_size=labeler.batch_size,
    )
