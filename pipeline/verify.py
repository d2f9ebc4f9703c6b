"""Holds a label table against its ledger: every claim of footers and counts, checked on the files themselves."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.masks import rle
from pipeline import ledger, manifest
from pipeline.counts import ClassCount
from pipeline.ledger import LedgerRow
from pipeline.merging import merged
from pipeline.output import LABEL_SUFFIX, Output
from pipeline.run import require
from pipeline.status import Status
from pipeline.table.footer import Footer, FooterError, check_file
from pipeline.table.schema import STATUS_FAILED, STATUS_OK
from pipeline.urls import filesystem

_SCALARS = ["shard", "sample_index", "status", "error", "width", "height", "mask_width", "mask_height", "segments"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something that isn't as it is said to be."""

    file: str
    """The label file, or the shard."""

    text: str
    """What is wrong, in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What was checked and what was found."""

    status: Status
    """Where the run stands."""

    files: int
    """Label files opened."""

    rows: int
    """Rows read."""

    masks: int
    """Masks decoded; 0 unless deep."""

    problems: tuple[Problem, ...]
    """All that isn't right; failed and missing shards are states, not problems."""


def verify(output: Output, *, deep: bool = False) -> Verification:
    """Check every label file of a run: schema, footer, fingerprint, order, counts against the ledger.

    Args:
        output: a run.
        deep: also read every column, decode every mask and compare its area and box with what the segment says.

    Raises:
        UsageError: OUT holds no run.
    """
    fingerprint = require(output)["fingerprint"]
    with merged(output) as found:
        now = Status(table=found.table)
        asked = dict(zip(*(manifest.read(output)[name].to_pylist() for name in ("url", "label_file")), strict=True))
        rows_by_name = {
            asked[row.url].removesuffix(LABEL_SUFFIX): row
            for block in found.blocks()
            for row in ledger.from_table(block)
        }
    problems: list[Problem] = []
    files = rows = masks = 0
    for name in sorted(output.done()):
        file = f"labels/{name}.parquet"
        row = rows_by_name.get(name)
        if row is None:
            problems.append(Problem(file=file, text="no shard in the manifest has this label file"))
            continue
        fs, path = filesystem(output.label(name))
        files += 1
        with fs.open(path, "rb") as source:
            try:
                footer = check_file(source)
            except FooterError as error:
                problems.append(Problem(file=file, text=f"{error}. Remove it and run the same `label` again"))
                continue
            checked = _Checker(footer, deep=deep)
            try:
                with pq.ParquetFile(source, page_checksum_verification=True) as parquet:
                    for batch in parquet.iter_batches(256, columns=None if deep else _SCALARS):
                        checked.add(batch.to_pylist())
            except (pa.ArrowException, OSError, ValueError) as error:
                said = " ".join(str(error).split())[:200]
                problems.append(Problem(file=file, text=f"damaged: {said}. Remove it and run the same `label` again"))
                continue
        rows += checked.rows
        masks += checked.masks
        told = [*checked.problems(), *_against_ledger(footer, row, fingerprint)]
        problems += [Problem(file=file, text=text) for text in told]
    return Verification(status=now, files=files, rows=rows, masks=masks, problems=tuple(problems))


def _against_ledger(footer: Footer, row: LedgerRow, fingerprint: str) -> Iterator[str]:
    if footer.fingerprint != fingerprint:
        yield f"made by run {footer.fingerprint[:16]}, this is {fingerprint[:16]}"
    if footer.shard != row.url:
        yield f"holds {footer.shard}, the ledger says {row.url}"
    if footer.counts != row.counts:
        yield f"its counts {footer.counts} aren't the ledger's {row.counts}"
    if (footer.size, footer.etag) != (row.size, row.etag):
        yield f"read at size {footer.size}, etag {footer.etag}; the ledger says {row.size}, {row.etag}"


class _Checker:
    """Counts one file's rows anew and holds them against its footer."""

    def __init__(self, footer: Footer, *, deep: bool) -> None:
        self.rows = 0
        self.masks = 0
        self._footer = footer
        self._deep = deep
        self._failed: Counter[str] = Counter()
        self._segments: Counter[int] = Counter()
        self._images: Counter[int] = Counter()
        self._wrong: list[str] = []

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Take the next rows of the file."""
        for row in rows:
            if row["sample_index"] != self.rows:
                self._wrong.append(f"row {self.rows} has sample_index {row['sample_index']}")
            if row["shard"] != self._footer.shard:
                self._wrong.append(f"row {self.rows} is of shard {row['shard']}")
            if row["status"] == STATUS_FAILED:
                self._failed[(row["error"] or "").partition(":")[0]] += 1
            elif row["status"] == STATUS_OK and row["segments"] is not None:
                found = [segment["vocab_id"] for segment in row["segments"]]
                self._segments.update(found)
                self._images.update(set(found))
                if self._deep:
                    self._decode(row)
            else:
                self._wrong.append(f"row {self.rows} has status {row['status']!r} and segments {row['segments']}")
            self.rows += 1

    def problems(self) -> list[str]:
        """What is wrong with the file, once all rows were taken; at most a few lines."""
        counts = self._footer.counts
        classes = tuple(
            ClassCount(vocab_id=vocab_id, segments=n, images=self._images[vocab_id])
            for vocab_id, n in sorted(self._segments.items())
        )
        if (dict(sorted(self._failed.items())), classes) != (counts.failed, counts.classes):
            self._wrong.append("its rows don't add up to the counts in its footer")
        more = [f"and {len(self._wrong) - 5} more"] if len(self._wrong) > 5 else []
        return self._wrong[:5] + more

    def _decode(self, row: dict[str, Any]) -> None:
        size = (row["mask_height"], row["mask_width"])
        if len(row["masks"] or ()) != len(row["segments"]) or None in size:
            masks = len(row["masks"] or ())
            self._wrong.append(f"row {self.rows} has {len(row['segments'])} segments and {masks} masks of size {size}")
            return
        for position, (segment, encoded) in enumerate(zip(row["segments"], row["masks"] or (), strict=True)):
            self.masks += 1
            try:
                area, box = rle.area_and_bbox(encoded, size)
            except ValueError as error:
                self._wrong.append(f"row {self.rows}, mask {position}: {error}")
                continue
            if (area, list(box)) != (segment["area"], segment["bbox"]):
                self._wrong.append(
                    f"row {self.rows}, mask {position}: area {area} and box {list(box)}, "
                    f"the segment says {segment['area']} and {segment['bbox']}"
                )
