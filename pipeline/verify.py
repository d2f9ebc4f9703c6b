"""Holds a label table against its manifest and ledger, file by file. What is checked of a file is label_check.py's."""

import os
import posixpath
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.models.errors import UsageError
from maskmill.models.scratch import scratch_folder
from maskmill.pipeline import run
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.ledger.merging import Merged, from_merged, write
from maskmill.pipeline.ledger.status import Status
from maskmill.pipeline.output import LABEL_SUFFIX, Output
from maskmill.pipeline.processes import process_pool, result_of
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores import stores
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.table.label_check import FileCheck, LabelFile, check
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run

FILES = 16
"""Label files read at a time; of masks are as many decoded at a time as there are processors, or so many."""

PROCESSES_FROM = 500
"""Masks of so many files are decoded in processes of their own; for fewer these would take longer to start."""

TOLD_SECONDS = 30.0
"""Time between lines on how far it is."""

_ROWS_AT_ONCE = 256
_FIX = "Run the same command again, with more memory to spare."


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something that isn't as it is said to be."""

    file: str
    """The label file, the shard, or the vocabulary."""

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

    unrecorded: int
    """Label files of which the ledger has no checksum; 0 unless deep."""

    problems: tuple[Problem, ...]
    """All that isn't right; failed and missing shards are states, not problems."""

    strays: tuple[str, ...] = ()
    """Files that lie among the run's and have none of its names: `FOLDER/NAME`. Nothing reads them; no problem."""


def verify(output: Output, *, deep: bool = False, told: Callable[[str], None] = lambda line: None) -> Verification:
    """Check a run or a sealed table: its vocabulary against run.json, and of every label file that the manifest asks
    for it, its size, columns, footer and fingerprint, the order of its rows, and its counts against the ledger.

    Memory is that of a status and of a few label files' row groups.

    Args:
        output: a run, which may be under way, or a sealed table.
        deep: also read every byte and compare its checksum with the ledger's, or Parquet's metadata with the rows where
            the ledger has none; decode every mask and compare its area and box with what the segment says.
        told: takes a line now and then.

    Raises:
        UsageError: OUT holds no run, or its manifest or ledger is damaged.
        EnvironmentFailure: a store doesn't answer, or the ledger was replaced meanwhile.
    """
    recorded = run.require(output)
    # Before the rest is read: what a job publishes from here on has no row, and isn't looked at.
    standing = output.label_files()
    sealed = run.is_sealed(recorded)
    problems = list(_vocabulary_problem(output))
    files = rows = masks = unrecorded = 0
    last = time.monotonic()
    with scratch_folder() as folder, _pool(len(standing) if deep else 0) as pool:
        # A copy: checking takes long, and a job that ends meanwhile replaces the ledger.
        copy = folder / "ledger.parquet"
        table = from_merged(output, partial(_copied, copy))
        asked = (
            LabelFile(
                url=output.label(name.removesuffix(LABEL_SUFFIX)),
                rows=rows_of,
                fingerprint=recorded["fingerprint"],
                sealed=sealed,
                size=standing.get(name),
            )
            for name, rows_of in _shards_by_file(copy, sealed=sealed)
            # One of an open table that isn't in the listing was published after it.
            if name in standing or sealed
        )
        for file, result in _in_order(asked, partial(check, deep=deep), pool):
            name = posixpath.basename(file.url)
            standing.pop(name, None)
            files, rows, masks = files + 1, rows + result.rows, masks + result.masks
            unrecorded += result.unrecorded
            problems += [Problem(file=f"labels/{name}", text=text) for text in result.problems]
            if time.monotonic() - last >= TOLD_SECONDS:
                last = time.monotonic()
                told(f"checked {files:,} label files, {rows:,} rows; {len(standing):,} to go")
        now = Status(table=table)
    unknown = "no shard in the ledger has this label file" if sealed else "no shard in the manifest has this label file"
    strays = tuple(output.strays())
    problems += [
        Problem(file=f"labels/{name}", text=unknown) for name in sorted(standing) if f"labels/{name}" not in strays
    ]
    return Verification(
        status=now,
        files=files,
        rows=rows,
        masks=masks,
        unrecorded=unrecorded,
        problems=tuple(problems),
        strays=strays,
    )


def _vocabulary_problem(output: Output) -> Iterator[Problem]:
    """That the vocabulary isn't there, is damaged, or isn't the run's; nothing where it is."""
    try:
        vocabulary_of_run(output)
    except UsageError as error:
        yield Problem(file="vocabulary.parquet", text=str(error).removeprefix(f"{redact(output.vocabulary)}: "))


def _copied(copy: Path, now: Merged) -> pa.Table:
    """The merged ledger without class counts; with them it is left as a local file."""
    write(now, copy)
    return now.table


def _shards_by_file(copy: Path, *, sealed: bool) -> Iterator[tuple[str, tuple[LedgerRow, ...]]]:
    """Names of label files that should or may stand there, each with the rows of its shards."""
    rows = (
        row
        for batch in pq.ParquetFile(copy).iter_batches(_ROWS_AT_ONCE)
        for row in ledger.from_table(batch)
        # Where a shard is not done, its label file may yet stand there, damaged.
        if row.state == "done" or not sealed
    )
    for name, group in groupby(rows, _label_file):
        yield name, tuple(group)


def _label_file(row: LedgerRow) -> str:
    return row.label_file or Shard(url=row.url, source=row.url).label_name + LABEL_SUFFIX


def _pool(decoded: int) -> Executor:
    """Where files are checked: most of reading is waiting, most of decoding is Python."""
    workers = min(os.cpu_count() or 1, FILES)
    if decoded >= PROCESSES_FROM and workers > 1:
        return process_pool(workers, stores.use, stores.used())
    return ThreadPoolExecutor(workers if decoded else FILES)


def _in_order(
    files: Iterable[LabelFile], work: Callable[[LabelFile], FileCheck], pool: Executor
) -> Iterator[tuple[LabelFile, FileCheck]]:
    """What was found in each file, a bounded number of them under way."""
    waiting: deque[tuple[LabelFile, Future[FileCheck]]] = deque()
    try:
        for file in files:
            waiting.append((file, pool.submit(work, file)))
            if len(waiting) > 2 * FILES:
                first, future = waiting.popleft()
                yield first, result_of(future, _FIX)
        for first, future in waiting:
            yield first, result_of(future, _FIX)
    finally:
        for _, future in waiting:
            future.cancel()
