"""Exports a label table: who writes which shard, what stands in DEST and when. How a format looks is its own file's."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.scratch import scratch_folder
from maskmill.pipeline import run
from maskmill.pipeline.dataset.walk import Walk
from maskmill.pipeline.export.class_map import ClassMaps
from maskmill.pipeline.export.destination import Destination
from maskmill.pipeline.export.formats import Context, Format, FormatName
from maskmill.pipeline.export.hf import HuggingFace
from maskmill.pipeline.export.instances import Instances
from maskmill.pipeline.export.panoptic import Panoptic
from maskmill.pipeline.export.plan import ShardPlan, done, plans
from maskmill.pipeline.export.pool import in_order
from maskmill.pipeline.export.source import Source, shown_name
from maskmill.pipeline.export.tally import Tally
from maskmill.pipeline.ledger.status import Status, status
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards.moved import UNMOVED, ShardsAt
from maskmill.pipeline.stores import stores
from maskmill.pipeline.stores.stores import Stores
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run

SAMPLES_A_WORKER = 2000
"""Samples that make a further process worth its start, by default."""

TOLD_EVERY = 10.0
"""Seconds between two lines on how far it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """What to export, and how."""

    output: Output
    """The label table."""

    destination: Destination
    """Where it goes."""

    format: FormatName
    """What other tools read."""

    keep: SegmentFilter
    """Which segments."""

    images: bool
    """Whether the images go with them."""

    skip_empty: bool
    """Whether samples are left out that no segment is left of."""

    shard_base: str | None = None
    """What is cut off the front of shards' names, a canonical URL with a slash at its end; None: nothing."""

    moved: ShardsAt = UNMOVED
    """Where the shards lie now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Setup:
    """What each process makes its writer of."""

    export: Export
    context: Context
    folder: Path
    stores: Stores


def export(
    asked: Export, *, scratch: Path, workers: int | None = None, told: Callable[[str], None] = lambda _: None
) -> Tally:
    """Write a label table in another format.

    Shards are written in order of their URLs, several at once; what they are written as doesn't depend on how many. The
    same table, open or sealed, gives the same files every time.

    Args:
        asked: what, and where to.
        scratch: an existing local folder, with room for the files that are put together from all shards (twice the
            JSON), and with images for a few source shards.
        workers: processes; a CPU each by default, fewer for small tables.
        told: takes lines on how far it is.

    Raises:
        UsageError: no run there, nothing done, a filter or a format that doesn't fit it, DEST holds something else, a
            label file is damaged, a shard has changed since it was labeled, hf without an image.
        EnvironmentFailure: a place can't be read or written, a process was killed.
    """
    identity = run.require(asked.output)
    asked.destination.refuse_unless_free(asked.output)
    vocabulary = vocabulary_of_run(asked.output)
    made = identity["identity"]
    asked.keep.bound(vocabulary, made["inference"], agreement=run.has_agreement(made))
    now = status(asked.output)
    shards = done(now)
    if not len(shards):
        raise UsageError(f"{redact(asked.output.url)}: no shard is done. Label some first.")
    asked.moved.refuse_unused(shards["url"].to_pylist())
    _check_base(asked.shard_base, shards)
    if (line := now.incomplete(asked.output)) is not None:
        told(line)
    context = Context(vocabulary=vocabulary, info=_info(asked, identity, now), shards=len(shards))
    form = _format(asked, context)
    mark = asked.destination.begin(context.info, _digest(shards), form.made)
    processes = min(workers or _processes(now.labeled), len(shards))
    total = Tally()
    with _scratch_errors(scratch), scratch_folder(scratch) as folder:
        setup = _Setup(export=asked, context=context, folder=folder, stores=stores.used())
        last = time.monotonic()
        # Closed before the folder goes, so that no process is left that writes into it.
        with closing(in_order(_writer, setup, plans(shards, asked.moved), processes)) as written:
            for plan, tally in written:
                form.take(plan, folder)
                total.add(tally)
                if time.monotonic() - last >= TOLD_EVERY:
                    last = time.monotonic()
                    told(f"{plan.number + 1:,} of {len(shards):,} shards, {total.images:,} images")
        if isinstance(form, HuggingFace) and not total.images:
            form.withdraw(asked.destination)
            raise UsageError(
                f"{redact(asked.output.url)}: no image is left to export ({total.failed:,} failed samples, "
                f"{total.skipped:,} images without a segment), and `datasets` loads no empty data set. Filter less, or "
                "leave --skip-empty out."
            )
        form.finish(asked.destination, folder)
        # Others' files are whole once this one stands there.
        asked.destination.finish({**context.info, "counts": asdict(total)}, mark)
    return total


def _writer(setup: _Setup) -> Callable[[ShardPlan], Tally]:
    """What writes one shard, in this process."""
    stores.use(setup.stores)
    asked = setup.export
    form = _format(asked, setup.context)
    source = Source(
        table=LabelTable(asked.output),
        walk=Walk.of(asked.output, asked.keep, setup.folder),
        classes=len(setup.context.vocabulary),
        images=asked.images,
        skip_empty=asked.skip_empty,
        shard_base=asked.shard_base,
    )

    def write(plan: ShardPlan) -> Tally:
        tally = Tally()
        with _scratch_errors(setup.folder.parent), asked.destination.sending() as sender:
            try:
                form.write(plan, source.samples(plan, tally), folder=setup.folder, sender=sender, tally=tally)
            except ValueError as error:
                raise UsageError(
                    f"{plan.shard.url}: a damaged mask among its labels: {error}. "
                    "`maskmill verify OUT --deep` says more."
                ) from error
        return tally

    return write


@contextmanager
def _scratch_errors(scratch: Path) -> Iterator[None]:
    """Errors of other places leave as their own kinds; what is left of the system's is scratch's."""
    try:
        yield
    except OSError as error:
        raise EnvironmentFailure(
            f"--scratch {scratch}: {error.strerror or error}. Free space, or name another."
        ) from error


def _format(asked: Export, context: Context) -> Format:
    match asked.format:
        case "coco":
            return Instances(context=context)
        case "coco-panoptic":
            return Panoptic(context=context)
        case "png":
            return ClassMaps(context=context)
        case "hf":
            return HuggingFace(context=context, images=asked.images)


def _check_base(base: str | None, shards: pa.Table) -> None:
    """Refuse a base that a shard doesn't lie below: its whole name would travel."""
    if base is None:
        return
    other = next((url for url in shards["url"].to_pylist() if shown_name(url, base) == url), None)
    if other is not None:
        raise UsageError(
            f"--shard-base {redact(base)}: {other} doesn't lie below it. Name a folder that holds all shards, or leave "
            "it out."
        )


def _info(asked: Export, recorded: dict[str, Any], now: Status) -> dict[str, Any]:
    """What an export says of itself; no time, so that a repeat is the same to the byte."""
    from importlib.metadata import version

    default = asdict(SegmentFilter())
    return {
        "description": "segmentation pseudo-labels exported by maskmill",
        "version": version("maskmill"),
        "format": asked.format,
        "run": recorded["fingerprint"],
        "model": recorded["identity"]["model"],
        "inference": recorded["identity"]["inference"],
        "filter": {name: value for name, value in asdict(asked.keep).items() if value != default[name]},
        "shards": {"asked": len(now), "labeled": now.shards("done")},
        "images": asked.images,
        "skip_empty": asked.skip_empty,
    }


def _digest(shards: pa.Table) -> str:
    """sha256 of what is exported: numbers of images and names of files follow from it."""
    digest = hashlib.sha256()
    for batch in shards.to_batches(4096):
        digest.update(json.dumps(batch.to_pydict(), sort_keys=True).encode())
    return digest.hexdigest()


def _processes(samples: int) -> int:
    return max(1, min(len(os.sched_getaffinity(0)), samples // SAMPLES_A_WORKER))
