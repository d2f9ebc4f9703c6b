"""Checks one label file, open or sealed, against its footer and what the ledger says of its shards."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from maskmill.pipeline.ledger.counts import ClassCount, Counts
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.stores.ranged import open_ranged, open_whole
from maskmill.pipeline.table.digest import RowsDigest
from maskmill.pipeline.table.footer import FooterError, check_file
from maskmill.pipeline.table.parquet_check import check_parquet
from maskmill.pipeline.table.schema import STATUS_FAILED, STATUS_OK
from maskmill.pipeline.table.sealed import check_sealed

ROWS_AT_ONCE = 256
"""Rows in memory, beside the pages that they come from."""

TOLD = 5
"""Wrong rows of a file that are told before the rest is only counted."""

_COUNTED = ("shard", "sample_index", "status", "error")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelFile:
    """A label file that is to be checked. It may travel to another process."""

    url: str
    """Its place."""

    rows: tuple[LedgerRow, ...]
    """What the ledger says of its shards, in the order of their rows; one unless the table is sealed."""

    fingerprint: str
    """Fingerprint of the run."""

    sealed: bool
    """Whether the table is sealed."""

    size: int | None = None
    """Bytes, where a listing has told."""

    @property
    def expected_size(self) -> int | None:
        """Bytes that the ledger says it has; None where it doesn't say."""
        # A sealed file's bytes are divided among its shards.
        sizes = [row.bytes for row in self.rows if row.bytes is not None]
        return sum(sizes) if len(sizes) == len(self.rows) else None

    @property
    def expected_sha256(self) -> str | None:
        """Checksum of its bytes as they were published; None where the ledger has none, or several."""
        recorded = {row.label_sha256 for row in self.rows}
        return recorded.pop() if len(recorded) == 1 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class FileCheck:
    """What was looked at in one label file, and what is wrong with it."""

    rows: int = 0
    """Rows read."""

    masks: int = 0
    """Masks decoded; 0 unless deep."""

    unrecorded: bool = False
    """Deep, and the ledger has no checksum of it: Parquet's metadata was compared with the rows instead."""

    problems: tuple[str, ...] = ()
    """Each in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Claim:
    """What the rows of one shard must be."""

    url: str
    counts: Counts
    where: str
    """Where the counts stand, for a problem's text."""


def check(file: LabelFile, *, deep: bool) -> FileCheck:
    """Read a label file's footer and the columns that its counts are of; with `deep` all columns and every mask.

    Its size is compared with the ledger's; with `deep` its checksum too. Where the ledger has none, Parquet's metadata
    is compared with the rows. Memory is bounded by a few row groups; a deep check of a stored file takes its size of
    the system's temporary folder.

    Raises:
        OutputError: the store doesn't answer.
        EnvironmentFailure: the temporary folder is full.
    """
    fix = "Make the sealed table again" if file.sealed else "Remove it and run the same `label` again"
    try:
        with _opened(file, deep=deep) as (source, checksum):
            wrong = _differences(file, source.seek(0, 2), checksum, fix)
            different, shards, digest = _sealed(file, source) if file.sealed else _open(file, source)
            wrong += different
            if not shards:
                return FileCheck(problems=tuple(wrong))
            rows = masks = 0
            read = RowsDigest()
            source.seek(0)
            with pq.ParquetFile(source, page_checksum_verification=True) as table:
                batches = _Batches(table.iter_batches(ROWS_AT_ONCE, columns=None if deep else _columns(table)))
                for claim in shards:
                    shard = _ShardRows(claim, first=rows)
                    for batch in batches.take(claim.counts.read):
                        shard.count(batch)
                        if deep:
                            masks += shard.decode(batch)
                        if deep and digest is not None:
                            read.add(batch)
                    rows += claim.counts.read
                    wrong += shard.problems()
            unrecorded = deep and file.expected_sha256 is None
            if unrecorded and (difference := check_parquet(source)):
                wrong.append(f"{difference}. {fix}")
    except FooterError as error:
        return FileCheck(problems=(f"{error}. {fix}",))
    except FileNotFoundError:
        return FileCheck(problems=(f"isn't there, though the ledger says so. {fix}",))
    except (pa.ArrowException, OSError, ValueError) as error:
        return FileCheck(problems=(f"damaged: {' '.join(str(error).split())[:200]}. {fix}",))
    if deep and digest is not None and read.hexdigest() != digest:
        wrong.append(f"its rows aren't those that were sealed. {fix}")
    return FileCheck(rows=rows, masks=masks, unrecorded=unrecorded, problems=tuple(wrong))


@contextmanager
def _opened(file: LabelFile, *, deep: bool) -> Iterator[tuple[BinaryIO, str | None]]:
    """The label file; with `deep` the whole of it is on this machine, and its sha256 known."""
    if deep:
        with open_whole(file.url, file.size) as (source, checksum):
            yield source, checksum
    else:
        with open_ranged(file.url, file.size) as source:
            yield source, None


def _differences(file: LabelFile, size: int, checksum: str | None, fix: str) -> list[str]:
    """How a file's bytes, as a whole, differ from what the ledger says of them."""
    if file.expected_size not in (None, size):
        return [f"has {size:,} bytes, the ledger says {file.expected_size:,}. {fix}"]
    if checksum is not None and file.expected_sha256 not in (None, checksum):
        return [f"its bytes aren't those that were published (their sha256 isn't the ledger's). {fix}"]
    return []


def _open(file: LabelFile, source: BinaryIO) -> tuple[list[str], list[_Claim], str | None]:
    """What a label file of one shard claims to hold, and how that differs from what the ledger says."""
    footer = check_file(source)
    (row,) = file.rows
    wrong = []
    if footer.fingerprint != file.fingerprint:
        wrong.append(f"made by run {footer.fingerprint[:16]}, this is {file.fingerprint[:16]}")
    if footer.shard != row.url:
        wrong.append(f"holds {footer.shard}, the ledger says {row.url}")
    if footer.counts != row.counts:
        wrong.append(f"its counts ({_stated(footer.counts)}) aren't the ledger's ({_stated(row.counts)})")
    if (footer.size, footer.etag) != (row.size, row.etag):
        wrong.append(f"read at size {footer.size}, etag {footer.etag}; the ledger says {row.size}, {row.etag}")
    return wrong, [_Claim(url=footer.shard, counts=footer.counts, where="in its footer")], None


def _stated(counts: Counts) -> str:
    segments = f"{counts.segments:,} segments of {len(counts.classes):,} classes"
    return f"{counts.read:,} read, {counts.labeled:,} labeled, {segments}"


def _sealed(file: LabelFile, source: BinaryIO) -> tuple[list[str], list[_Claim], str | None]:
    """The same of a file of many shards, whose counts stand in the ledger alone; and the digest of all its rows."""
    footer = check_sealed(source)
    wrong = []
    if footer.fingerprint != file.fingerprint:
        wrong.append(f"made by run {footer.fingerprint[:16]}, this is {file.fingerprint[:16]}")
    there = [(shard.url, shard.size, shard.etag, shard.first_row, shard.rows) for shard in footer.shards]
    if there != [(row.url, row.size, row.etag, row.first_row, row.counts.read) for row in file.rows]:
        return [*wrong, "the shards in its footer, or their places, aren't the ledger's"], [], None
    claims = [_Claim(url=row.url, counts=row.counts, where=f"of {row.url} in the ledger") for row in file.rows]
    return wrong, claims, footer.rows_sha256


def _columns(table: pq.ParquetFile) -> list[str]:
    """What is read to count: of the segments only which class they are."""
    paths = [table.schema.column(number).path for number in range(len(table.schema))]
    return [*_COUNTED, *(path for path in paths if path.startswith("segments.") and path.endswith(".vocab_id"))]


class _Batches:
    """Batches of a file, cut where one shard ends."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._left: pa.RecordBatch | None = None

    def take(self, rows: int) -> Iterator[pa.RecordBatch]:
        """The next so many rows."""
        while rows:
            batch = self._left or next(self._batches, None)
            if batch is None:
                raise ValueError(f"it ends {rows} rows early")
            piece = batch.slice(0, rows)
            self._left = batch.slice(piece.num_rows) if piece.num_rows < batch.num_rows else None
            rows -= piece.num_rows
            yield piece


class _ShardRows:
    """Counts one shard's rows anew and holds them against what is claimed of them."""

    def __init__(self, claim: _Claim, *, first: int) -> None:
        """
        Args:
            claim: what they must be.
            first: number of the shard's first row in the file.
        """
        self._claim = claim
        self._first = first
        self._at = 0
        self._failed: Counter[str] = Counter()
        self._segments: Counter[int] = Counter()
        self._images: Counter[int] = Counter()
        self._wrong: list[str] = []
        self._more = 0

    def count(self, batch: pa.RecordBatch) -> None:
        """Take the shard's next rows."""
        start = self._at
        self._at += batch.num_rows
        row = self._first + start
        indices = pc.fill_null(batch.column("sample_index"), -1).to_numpy()
        for place in np.flatnonzero(indices != np.arange(start, self._at)):
            self._tell(f"row {row + place} has sample_index {indices[place]}")
        shards = batch.column("shard")
        for place in _where(pc.fill_null(pc.not_equal(shards, self._claim.url), True)):
            self._tell(f"row {row + place} is of shard {shards[place]}")
        status, segments = batch.column("status"), batch.column("segments")
        failed = pc.fill_null(pc.equal(status, STATUS_FAILED), False)
        labeled = self._labeled(batch)
        for place in _where(pc.invert(pc.or_(failed, labeled))):
            there = "segments" if segments[place].is_valid else "no segments"
            self._tell(f"row {row + place} has status {status[place].as_py()!r} and {there}")
        errors = pc.fill_null(batch.column("error").filter(failed), "").to_pylist()
        self._failed.update(error.partition(":")[0] for error in errors)
        found = segments.filter(labeled)
        ids = pc.fill_null(pc.struct_field(pc.list_flatten(found), "vocab_id"), -1).to_numpy()
        self._segments.update(dict(zip(*_counted(ids), strict=True)))
        # A class counts once an image: image and class as one number, each number once.
        pairs = np.unique(pc.list_parent_indices(found).to_numpy() << 32 | ids.view(np.uint32))
        self._images.update(dict(zip(*_counted((pairs & 0xFFFFFFFF).astype(np.uint32).view(np.int32)), strict=True)))

    def decode(self, batch: pa.RecordBatch) -> int:
        """Decode the masks of the rows that were counted last, and compare them with their segments; how many."""
        first = self._first + self._at - batch.num_rows
        heights, widths, masks, segments = (
            batch.column(name) for name in ("mask_height", "mask_width", "masks", "segments")
        )
        lengths, wanted = (_numbers(pc.list_value_length(lists)) for lists in (masks, segments))
        sizes = np.stack([_numbers(heights), _numbers(widths)], axis=1)
        labeled = np.isin(np.arange(batch.num_rows), _where(self._labeled(batch)))
        sound = labeled & (lengths == wanted) & (sizes > 0).all(axis=1)
        for place in np.flatnonzero(labeled & ~sound):
            size = f"{heights[place]} x {widths[place]}"
            self._tell(f"row {first + place} has {wanted[place]} segments and {lengths[place]} masks of size {size}")
        # Masks of one size are read together, which takes a fraction of the time.
        for height, width in np.unique(sizes[sound], axis=0).tolist():
            places = np.flatnonzero(sound & (sizes == (height, width)).all(axis=1))
            mine = pa.array(places)
            found = _measured(pc.list_flatten(masks.take(mine)).to_pylist(), (height, width))
            told = pc.list_flatten(segments.take(mine))
            claims = zip(*(pc.struct_field(told, name).to_pylist() for name in ("area", "bbox")), strict=True)
            at = ((place, position) for place in places for position in range(wanted[place]))
            for (place, position), measured, (area, box) in zip(at, found, claims, strict=True):
                if isinstance(measured, str):
                    self._tell(f"row {first + place}, mask {position}: {measured}")
                elif measured != (area, box):
                    self._tell(
                        f"row {first + place}, mask {position}: area {measured[0]} and box {measured[1]}, "
                        f"the segment says {area} and {box}"
                    )
        return int(wanted[sound].sum())

    def problems(self) -> list[str]:
        """What is wrong, once all rows were taken; a few lines."""
        counts = self._claim.counts
        classes = tuple(
            ClassCount(vocab_id=vocab_id, segments=n, images=self._images[vocab_id])
            for vocab_id, n in sorted(self._segments.items())
        )
        if (dict(sorted(self._failed.items())), classes) != (counts.failed, counts.classes):
            self._tell(f"its rows don't add up to the counts {self._claim.where}")
        return self._wrong + ([f"and {self._more} more"] if self._more else [])

    def _labeled(self, batch: pa.RecordBatch) -> pa.Array:
        ok = pc.fill_null(pc.equal(batch.column("status"), STATUS_OK), False)
        return pc.and_(ok, pc.is_valid(batch.column("segments")))

    def _tell(self, text: str) -> None:
        if len(self._wrong) < TOLD:
            self._wrong.append(text)
        else:
            self._more += 1


def _measured(masks: list[bytes | None], size: tuple[int, int]) -> list[tuple[int, list[int]] | str]:
    """Area and box of each mask, or what is wrong with it."""
    from maskmill.models.masks import rle  # imports torch, which counting rows needs not

    try:
        areas, boxes = rle.areas_and_bboxes([mask or b"" for mask in masks], size)
        return list(zip(areas.tolist(), boxes.tolist(), strict=True))
    except ValueError as error:
        if len(masks) == 1:
            return [str(error)]
        return [found for mask in masks for found in _measured([mask], size)]


def _numbers(values: pa.Array) -> NDArray[np.int64]:
    """The values, and -1 where there is none."""
    numbers: NDArray[np.int64] = pc.fill_null(pc.cast(values, pa.int64()), -1).to_numpy()
    return numbers


def _where(flags: pa.Array) -> NDArray[np.int64]:
    return np.flatnonzero(flags.to_numpy(zero_copy_only=False))


def _counted(values: NDArray[np.int32]) -> tuple[list[int], list[int]]:
    found, numbers = np.unique(values, return_counts=True)
    return found.tolist(), numbers.tolist()
