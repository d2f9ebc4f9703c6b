"""What ledger and footers tell of classes: how often each was found, which files hold it. Reads no label column."""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from maskmill.models.errors import UsageError
from maskmill.pipeline.ledger.counts import Counts
from maskmill.pipeline.ledger.merging import Merged, from_merged
from maskmill.pipeline.ledger.sources import READERS
from maskmill.pipeline.ledger.status import Status
from maskmill.pipeline.stores.ranged import open_ranged
from maskmill.pipeline.stores.urls import quoted, redact
from maskmill.pipeline.table.footer import FooterError, check_file
from maskmill.pipeline.table.label_table import LabelTable


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassLedger:
    """The class counts of a table's done shards, added up."""

    status: Status
    """Where the run stands."""

    images: NDArray[np.int64]
    """By vocabulary id, images with at least one segment of the class."""

    segments: NDArray[np.int64]
    """By vocabulary id, segments of the class."""

    holding: tuple[str, ...]
    """URLs of the label files that hold at least one segment of the classes asked for, in the table's order."""


def read(table: LabelTable, classes: int, asked: Collection[int] = ()) -> ClassLedger:
    """Add up the ledger's class counts, a block of shards at a time; of a file it doesn't know the footer is read.

    Args:
        table: the label files.
        classes: size of the vocabulary.
        asked: vocabulary ids whose files `holding` shall name.

    Raises:
        UsageError: there are no label files, or a file that tells is damaged.
        OutputError: one can't be read.
    """
    images, segments = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    names = {url.rsplit("/", 1)[-1]: url for url in table.files}
    wanted = pa.array(sorted(asked), pa.int32())
    told: set[str] = set()
    holding: set[str] = set()

    def add(ids: pa.Array, found_images: pa.Array, found_segments: pa.Array) -> None:
        if len(ids) and not 0 <= pc.min(ids).as_py() <= pc.max(ids).as_py() < classes:
            raise UsageError(
                f"{redact(table.output.url)}: counts classes that its vocabulary doesn't have. "
                f"Run `maskmill verify {quoted(table.output.url)}`."
            )
        np.add.at(images, ids.to_numpy(), found_images.to_numpy())
        np.add.at(segments, ids.to_numpy(), found_segments.to_numpy())

    def take(now: Merged) -> Status:
        # From the start, where another process replaced the ledger half way.
        images[:] = segments[:] = 0
        told.clear()
        holding.clear()
        for block in _done(now):
            files = block["label_file"]
            told.update(files.to_pylist())
            counts = block["class_counts"].combine_chunks()
            entries = counts.flatten()
            ids = entries.field("vocab_id")
            add(ids, entries.field("images"), entries.field("segments"))
            holders = pc.list_parent_indices(counts).filter(pc.is_in(ids, value_set=wanted))
            holding.update(pc.unique(files.take(holders)).to_pylist())
        return Status(table=now.table)

    status = from_merged(table.output, take)
    untold = [name for name in names if name not in told]
    with ThreadPoolExecutor(READERS) as threads:
        for name, counts in zip(untold, threads.map(_counts, [names[name] for name in untold]), strict=True):
            found = counts.classes
            columns = ([c.vocab_id for c in found], [c.images for c in found], [c.segments for c in found])
            add(*(pa.array(column, pa.int64()) for column in columns))
            if any(c.vocab_id in asked for c in found):
                holding.add(name)
    return ClassLedger(
        status=status,
        images=images,
        segments=segments,
        holding=tuple(url for name, url in names.items() if name in holding),
    )


def _done(now: Merged) -> Iterator[pa.Table]:
    for block in now.blocks():
        yield block.filter(pc.equal(block["state"], "done"))


def _counts(url: str) -> Counts:
    try:
        with open_ranged(url) as file:
            return check_file(file).counts
    except FooterError as error:
        raise UsageError(f"{redact(url)}: damaged: {error}. Run `maskmill verify`.") from error
    except FileNotFoundError as error:
        raise UsageError(f"{redact(url)}: was removed while it was read. Run the same command again.") from error
