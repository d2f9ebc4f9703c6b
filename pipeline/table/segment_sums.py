"""Adds up the scalars of all segments of a label table, a batch of rows at a time. Masks are never read."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from maskmill.models.errors import UsageError
from maskmill.pipeline.stores.publish import is_local
from maskmill.pipeline.stores.ranged import open_ranged
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.table.filters import BoundFilter
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.older import current, is_labels

BINS = 20
"""Equal steps of the score from 0 to 1."""

LONGEST = 32
"""Images with so many segments or more are counted together."""

REQUESTS = 16
"""Label files that are read from a store at once."""

_ROWS_AT_ONCE = 16_384
_SIZES = ["mask_width", "mask_height"]


@dataclass(kw_only=True, slots=True)
class SegmentSums:
    """Sums over the labeled samples of some label files; it is added to while they are read."""

    images: NDArray[np.int64]
    """By vocabulary id, images with at least one segment of the class that counts."""

    segments: NDArray[np.int64]
    """By vocabulary id, segments that count."""

    scores: NDArray[np.float64]
    """By vocabulary id, their scores added up."""

    areas: NDArray[np.int64]
    """By vocabulary id, their pixels; an image's pixel counts twice where two masks overlap."""

    by_score: NDArray[np.int64]
    """Segments by score, in `BINS` steps; the last one holds 1.0 too."""

    by_length: NDArray[np.int64]
    """Labeled images by their number of segments: 0, 1, ... `LONGEST` or more."""

    agreed: int = 0
    """Segments that have an agreement."""

    agreement: float = 0.0
    """Their agreements added up."""

    pixels: int = 0
    """Mask pixels of all labeled images, segments or not."""

    bytes: Counter[str] = field(default_factory=Counter)
    """By column of the label table, compressed bytes in the files."""

    @classmethod
    def nothing(cls, classes: int) -> "SegmentSums":
        """Sums before the first file, for a vocabulary of this size."""
        images, segments, areas = (np.zeros(classes, np.int64) for _ in range(3))
        scores, by_score, by_length = np.zeros(classes), np.zeros(BINS, np.int64), np.zeros(LONGEST + 1, np.int64)
        return cls(images=images, segments=segments, scores=scores, areas=areas, by_score=by_score, by_length=by_length)

    def add(self, other: "SegmentSums") -> None:
        """Take the sums of other files."""
        for name in ("images", "segments", "scores", "areas", "by_score", "by_length"):
            mine = getattr(self, name)
            mine += getattr(other, name)
        self.agreed += other.agreed
        self.agreement += other.agreement
        self.pixels += other.pixels
        self.bytes += other.bytes


def add_up(
    table: LabelTable, classes: int, *, keep: BoundFilter | None = None, files: Sequence[str] | None = None
) -> SegmentSums:
    """Sums over label files, several at a time: of each only the columns that are added up are read.

    Args:
        table: the label files.
        classes: size of the vocabulary.
        keep: which segments count; None: all.
        files: those whose segments are read; of the others only the size of the masks is. None: all.

    Raises:
        UsageError: there are no label files, or one is damaged.
        OutputError: one can't be read.
    """
    read = None if files is None else frozenset(files)
    sizes = {table.output.label(name.removesuffix(".parquet")): n for name, n in table.output.label_files().items()}
    sums = SegmentSums.nothing(classes)
    one = partial(_of_file, classes=classes, keep=keep, read=read, sizes=sizes)
    local = is_local(table.output.url)
    with ThreadPoolExecutor((os.cpu_count() or 1) if local else REQUESTS) as threads:
        for found in threads.map(one, table.files):
            sums.add(found)
    return sums


def _of_file(
    url: str, *, classes: int, keep: BoundFilter | None, read: frozenset[str] | None, sizes: Mapping[str, int | None]
) -> SegmentSums:
    sums = SegmentSums.nothing(classes)
    columns = list(_SIZES)
    if read is None or url in read:
        leaves = dict.fromkeys(("vocab_id", "score", "area", "agreement", *(keep.floors if keep else ())))
        columns += [f"segments.list.element.{leaf}" for leaf in leaves]
    try:
        with (
            open_ranged(url, sizes.get(url)) as source,
            pq.ParquetFile(source, pre_buffer=True, page_checksum_verification=True) as file,
        ):
            if not is_labels(file.schema_arrow):
                raise UsageError(f"{redact(url)}: its columns aren't those of the label table. Run `maskmill verify`.")
            for group in range(file.metadata.num_row_groups):
                row_group = file.metadata.row_group(group)
                for number in range(row_group.num_columns):
                    chunk = row_group.column(number)
                    sums.bytes[chunk.path_in_schema.partition(".")[0]] += chunk.total_compressed_size
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns, use_threads=False):
                _add(current(batch, columns), sums, keep)
    except FileNotFoundError as error:
        raise UsageError(f"{redact(url)}: was removed while it was read. Run the same command again.") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UsageError(f"{redact(url)}: damaged ({type(error).__name__}). Run `maskmill verify`.") from error
    return sums


def _add(batch: pa.RecordBatch, sums: SegmentSums, keep: BoundFilter | None) -> None:
    width, height = (pc.cast(batch[name], pa.int64()) for name in _SIZES)
    if "segments" not in batch.schema.names:
        sums.pixels += pc.sum(pc.multiply(width, height)).as_py() or 0
        return
    lists = batch["segments"]
    labeled = lists.is_valid()
    sums.pixels += pc.sum(pc.multiply(width, height).filter(labeled)).as_py() or 0
    found, images = lists.flatten(), pc.list_parent_indices(lists).to_numpy()
    columns = {name.name: found.field(name.name).to_numpy(zero_copy_only=False) for name in found.type}
    if keep is not None:
        passing = keep.passing(columns)
        images, columns = images[passing], {name: values[passing] for name, values in columns.items()}
    ids, scores, areas, agreement = (columns[name] for name in ("vocab_id", "score", "area", "agreement"))
    classes = len(sums.segments)
    if len(ids) and not 0 <= ids.min() <= ids.max() < classes:
        raise ValueError("class ids beyond the vocabulary")
    sums.segments += np.bincount(ids, minlength=classes)
    sums.scores += np.bincount(ids, scores, classes)
    # Sums of doubles are whole up to 2**53 pixels.
    sums.areas += np.bincount(ids, areas, classes).astype(np.int64)
    told = agreement[~np.isnan(agreement)]
    sums.agreed += len(told)
    sums.agreement += float(told.sum(dtype=np.float64))
    pairs = np.unique(images.astype(np.int64) * classes + ids)
    sums.images += np.bincount(pairs % classes, minlength=classes)
    sums.by_score += np.bincount(np.minimum((scores * BINS).astype(np.int64), BINS - 1), minlength=BINS)
    lengths = np.bincount(images, minlength=len(lists))[labeled.to_numpy(zero_copy_only=False)]
    sums.by_length += np.bincount(np.minimum(lengths, LONGEST), minlength=LONGEST + 1)
