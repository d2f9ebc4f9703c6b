"""Whether a shard still holds what was labeled: the one rule of all commands. What is done with its samples isn't here.

Another size is another shard. With the same size and the same etag (of a local file its time) it is the same one. With
the same size and another etag the bytes decide, as a copy, a second upload or a touched file has one too: keys and
images of some samples are compared with what the label table says of them.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline.reading.errors import ShardError
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.open import OpenShard, open_shard
from maskmill.pipeline.reading.samples import Sample, read_samples
from maskmill.pipeline.shards.shard import Shard, describe
from maskmill.pipeline.table.footer import FooterError
from maskmill.pipeline.table.label_table import LabelTable

COMPARED = 16
"""Samples whose keys and images are compared, spread evenly over the shard, the first and the last among them."""

NOT_HAD = ("read", "disk", "checksum")
"""Reasons why a shard can't be had that say nothing of what it holds."""

ROWS = 64
"""Rows of a label file in memory at once."""


def is_labeled_image(key: str, image: bytes | None, row: Mapping[str, Any]) -> bool:
    """Whether a sample has the key and the image bytes that were labeled.

    Args:
        key: webdataset's `__key__`.
        image: bytes of the image; None where there is none.
        row: `key` and `sha256` of the label table.
    """
    digest = None if image is None else hashlib.sha256(image).digest()
    return (key, digest) == (row["key"], row["sha256"])


@contextmanager
def open_labeled(shard: Shard, table: LabelTable, scratch: Path, limits: ReadLimits) -> Iterator[OpenShard]:
    """A done shard ready to be read, once it is known to hold what was labeled (see `open_shard`).

    Args:
        shard: with size and etag as they were when it was labeled; its source may have moved.
        table: the run's label files.
        scratch: an existing local folder.
        limits: those that the run was labeled with, so that samples are the same.

    Raises:
        ShardError: changed, where it holds something else; missing and others, where it can't be had or read.
        UsageError: its label file is damaged.
    """
    now = there_now(shard)
    with open_shard(now, scratch, limits, first_version=of_first_version(table, shard)) as opened:
        if not known_same(shard, now):
            _compare(opened, shard, table, limits)
        yield opened


def holds_what_was_labeled(shard: Shard, table: LabelTable, scratch: Path, limits: ReadLimits) -> bool:
    """Whether a done shard still is the one that was labeled (see `open_labeled`); one in a store is downloaded.

    Raises:
        UsageError: its label file is damaged.
        EnvironmentFailure: it can't be fetched.
    """
    try:
        with open_labeled(shard, table, scratch, limits):
            return True
    except ShardError as error:
        if error.reason in NOT_HAD:
            raise EnvironmentFailure(f"{shard.url}: can't be compared with its labels: {error}") from error
        return False


def rows_of(table: LabelTable, shard: Shard, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """All rows of a shard, in order.

    Raises:
        UsageError: there are none, or its label file is damaged.
    """
    with _readable(shard):
        rows = table.rows_of(shard.url)
        if rows is None:
            raise FooterError("its label file is gone")
        for batch in table.batches(rows, list(columns), ROWS):
            yield from batch.to_pylist()


def of_first_version(table: LabelTable, shard: Shard) -> bool:
    """Whether the first version labeled a shard: it grouped some members otherwise (see `reading.grouping.group`).

    Raises:
        UsageError: its label file is damaged.
    """
    with _readable(shard):
        return table.of_first_version(shard.url)


@contextmanager
def _readable(shard: Shard) -> Iterator[None]:
    try:
        yield
    except (FooterError, FileNotFoundError, ValueError) as error:
        raise UsageError(f"{shard.url}: its labels can't be read: {error}. `maskmill verify OUT` says more.") from error


def there_now(shard: Shard) -> Shard:
    """A done shard as its store has it now, under its own URL.

    Raises:
        ShardError: missing; changed, where it has another size; read, where the store doesn't answer.
    """
    try:
        now = describe(shard.source)
    except EnvironmentFailure as error:
        raise ShardError("read", str(error)) from error
    if now.missing:
        raise ShardError("missing", f"{shard.url} does not exist any more")
    refuse_other_size(shard, now)
    return replace(now, url=shard.url)


def refuse_other_size(shard: Shard, now: Shard) -> None:
    """Hold a shard's size against the one that was labeled.

    Raises:
        ShardError: changed, where they differ.
    """
    if shard.size is not None and now.size is not None and shard.size != now.size:
        raise ShardError("changed", f"it had {shard.size:,} bytes when it was labeled and has {now.size:,} now")


def known_same(shard: Shard, now: Shard) -> bool:
    """Whether etag and size alone say that a shard is the one that was labeled."""
    return now.etag is not None and (now.etag, now.size) == (shard.etag, shard.size)


def _compare(opened: OpenShard, shard: Shard, table: LabelTable, limits: ReadLimits) -> None:
    """Compare some samples with their rows.

    Raises:
        ShardError: changed, where one differs, or one of the two has more.
    """
    rows = list(rows_of(table, shard, ["key", "sha256"]))
    picked = frozenset(np.linspace(0, len(rows) - 1, min(COMPARED, len(rows))).round().astype(int).tolist())
    # One more than there are rows: a sample there was added.
    found = read_samples(
        opened.path, opened.report, limits, only=picked | {len(rows)}, first_version=opened.first_version
    )
    samples = {sample.index: sample for sample in found}
    if len(rows) in samples:
        raise ShardError("changed", f"it has more than the {len(rows):,} samples that were labeled")
    for index in sorted(picked):
        sample: Sample | None = samples.get(index)
        if sample is None:
            raise ShardError("changed", f"it has fewer than the {len(rows):,} samples that were labeled")
        if not is_labeled_image(sample.key, sample.image, rows[index]):
            raise ShardError("changed", f"sample {index} ({sample.key[:80]!r}) isn't the one that was labeled")
