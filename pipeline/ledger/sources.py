"""What tells of shards: rows of the ledger's files, footers of label files, records in failed/. merging.py puts them
together."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline import parquet
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.failure import another_run
from maskmill.pipeline.ledger.ledger import BRIEF, FIX, SCHEMA, LedgerRow
from maskmill.pipeline.output import LABEL_SUFFIX, Output
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores.publish import version
from maskmill.pipeline.stores.ranged import open_ranged
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.table.footer import FooterError, check_file

BLOCK = 8192
"""Shards whose class counts are in memory at a time: 16 MB with a hundred classes in each."""

READERS = 32
"""Footers and records of failures read at a time."""


class LedgerReplacedError(EnvironmentFailure):
    """Another process replaced the ledger while this one read it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """All rows of a run's ledger."""

    table: pa.Table
    """Columns `BRIEF`."""

    files: tuple[str, ...]
    """URLs of ledger.parquet and of its parts, oldest first."""

    file: NDArray[np.int64]
    """Of each row its file."""

    row: NDArray[np.int64]
    """Of each row its place in the file."""

    version: str | None
    """What ledger.parquet was when it was read."""


def known(output: Output) -> Known:
    """Read the ledger and its parts, but for class counts.

    Raises:
        UsageError: a file is damaged.
        OutputError: one can't be read.
        LedgerReplacedError: another process replaced it meanwhile.
    """
    # The parts first: what a job that ends meanwhile merges and removes is in ledger.parquet by then.
    parts = output.ledger_parts()

    def brief(url: str, before: str | None) -> pa.Table:
        with unless_replaced(url, before):
            table = parquet.read_columns(url, SCHEMA, BRIEF.names, fix=FIX)
        return BRIEF.empty_table() if table is None else table

    def part(url: str) -> pa.Table:
        try:
            return brief(url, None)
        except LedgerReplacedError:
            # Removed while it was read: ledger.parquet has it.
            return BRIEF.empty_table()

    with ThreadPoolExecutor(READERS) as threads:
        tables = list(threads.map(part, parts))
    before = version(output.ledger)
    tables = [brief(output.ledger, before), *tables]
    counts = [table.num_rows for table in tables]
    return Known(
        table=pa.concat_tables(tables),
        files=(output.ledger, *parts),
        file=np.repeat(np.arange(len(tables)), counts),
        row=np.concatenate([np.arange(count) for count in counts]),
        version=before,
    )


@contextmanager
def unless_replaced(url: str, before: str | None) -> Iterator[None]:
    """Reads a file of the ledger in ranges: what looks like damage is none if the file is another one by now.

    Args:
        url: the file.
        before: its version; None for a part, which is removed and never replaced.

    Raises:
        LedgerReplacedError: it is.
    """
    try:
        yield
    except UsageError as error:
        now = version(url)
        if now is None if before is None else now != before:
            raise replaced(url) from error
        raise


def replaced(url: str) -> LedgerReplacedError:
    """The error that tells which file was replaced."""
    return LedgerReplacedError(
        f"{redact(url)}: another process replaces it again and again. Run the same command again when that has ended."
    )


def read_untold(
    untold: Sequence[tuple[int, Callable[[int], LedgerRow | None]]], path: Path
) -> tuple[NDArray[np.int64], pa.Table]:
    """Rows read by threads and left in a file, a block at a time: whose they are, and their brief columns."""
    told: list[int] = []
    briefs = [BRIEF.empty_table()]
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer, ThreadPoolExecutor(READERS) as threads:
        for start in range(0, len(untold), BLOCK):
            block = untold[start : start + BLOCK]
            rows = list(threads.map(lambda entry: entry[1](entry[0]), block))
            told += [index for (index, _), row in zip(block, rows, strict=True) if row is not None]
            table = ledger.to_table(row for row in rows if row is not None)
            writer.write_table(table)
            briefs.append(table.select(BRIEF.names))
    return np.array(told, np.int64), pa.concat_tables(briefs)


def from_footer(output: Output, shard: Shard, size: int | None, fingerprint: str | None) -> LedgerRow | None:
    """The row of a shard whose label file no ledger knows: done, or failed if another run made the file."""
    url = output.label(shard.label_name)
    try:
        with open_ranged(url, size) as file:
            footer, size = check_file(file), file.seek(0, 2)
    except (FooterError, FileNotFoundError):
        # A damaged label file isn't labels: the shard counts as missing, and `verify` names the file.
        return None
    if fingerprint not in (None, footer.fingerprint):
        error = another_run(url, footer.fingerprint, str(fingerprint))
        return LedgerRow(url=shard.url, size=shard.size, etag=shard.etag, state="failed", error=str(error), attempts=1)
    return LedgerRow.from_footer(footer, size, shard.label_name + LABEL_SUFFIX)


def from_failure(output: Output, label_name: str) -> LedgerRow | None:
    """The row of a shard that no ledger knows and that could not be labeled.

    Raises:
        UsageError: its record is damaged.
    """
    record = output.read_json(output.failed(label_name))
    if record is None:
        return None
    try:
        return LedgerRow.from_json(record)
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise UsageError(
            f"{redact(output.failed(label_name))}: damaged, expected the record of a failed shard. "
            "Remove it and run the same `label` again."
        ) from error


def rows_of(url: str, rows: NDArray[np.int64], columns: Sequence[str]) -> pa.Table | None:
    """Some rows of a ledger file, in their order; only their row groups are read. None where it has no such rows.

    Raises:
        UsageError: it is damaged, or was removed while it was read.
        OutputError: it can't be read.
    """
    with parquet.opened(url, SCHEMA, fix=FIX) as file:
        if file is None:
            return None
        ends = np.cumsum([file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)])
        if rows.max() >= ends[-1]:
            return None
        groups = np.unique(np.searchsorted(ends, rows, side="right"))
        with parquet.damage(url, FIX):
            table = file.read_row_groups(groups.tolist(), columns=list(columns)).select(columns)
        starts = np.concatenate([[0], ends])[groups]
        before = np.concatenate([[0], np.cumsum(ends[groups] - starts)])
        within = np.searchsorted(groups, np.searchsorted(ends, rows, side="right"))
        return table.take(pa.array(rows - starts[within] + before[within]))
