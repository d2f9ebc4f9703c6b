"""The last word on each shard asked for: manifest, ledger, its parts, label files and failed/ put together. No sums.

A ledger of half a million shards has gigabytes of class counts, which merging never looks at: the other columns are
merged in memory, and class counts are copied from file to file, a block of shards at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline import parquet, run
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.ledger import BRIEF, FIX, SCHEMA, LedgerRow
from maskmill.pipeline.output import LABEL_SUFFIX, Output
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.stores.ranged import open_ranged
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.table.footer import FooterError, check_file

BLOCK = 8192
"""Shards whose class counts are in memory at a time: 16 MB with a hundred classes in each."""

READERS = 32
"""Footers and records of failures read at a time."""

MERGED = BRIEF.append(pa.field("stale", pa.bool_(), nullable=False))
"""Columns of a status: the ledger's without class counts, and whether a done shard's etag has moved since."""

_NOWHERE = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """One row a shard, and where its class counts stand."""

    table: pa.Table
    """Columns `MERGED`; shards in the order of asking."""

    parts: tuple[str, ...]
    """Parts of the ledger that went into it, oldest first."""

    _files: tuple[str, ...]
    _file: NDArray[np.int64]
    _row: NDArray[np.int64]

    def blocks(self) -> Iterator[pa.Table]:
        """All columns of the ledger, `BLOCK` shards at a time; good inside the `with` of `merged`.

        Raises:
            EnvironmentFailure: the ledger was replaced meanwhile.
        """
        for start in range(0, self.table.num_rows, BLOCK):
            brief = self.table.slice(start, BLOCK)
            counts = self._class_counts(brief["url"], slice(start, start + brief.num_rows))
            columns = [counts if name == "class_counts" else brief[name] for name in SCHEMA.names]
            yield pa.Table.from_arrays(columns, schema=SCHEMA)

    def _class_counts(self, urls: pa.ChunkedArray, block: slice) -> pa.ChunkedArray:
        files, rows = self._file[block], self._row[block]
        kind = SCHEMA.field("class_counts").type
        pieces, places = [], []
        for number in np.unique(files):
            mine = np.flatnonzero(files == number)
            if number == _NOWHERE:
                pieces.append(pa.array([[]] * len(mine), kind))
            else:
                found = _rows_of(self._files[number], rows[mine], ("url", "class_counts"))
                if found is None or not found["url"].equals(urls.take(pa.array(mine))):
                    raise EnvironmentFailure("the ledger was replaced while it was read. Run the same command again.")
                pieces += found["class_counts"].chunks
            places.append(mine)
        return pa.chunked_array(pieces, kind).take(pa.array(np.argsort(np.concatenate(places))))


@contextmanager
def merged(output: Output) -> Iterator[Merged]:
    """The last word on every shard asked for: later rows win, but a failure never takes back a done shard.

    A shard is done if and only if its label file stands there, whatever the ledger says; one of which the ledger says
    nothing is read from its label file's footer or its record in failed/. Of a sealed table the ledger tells it all.

    Raises:
        UsageError: a file is damaged.
        OutputError: one can't be read.
    """
    recorded = run.read(output)
    with TemporaryDirectory(prefix="maskmill-") as scratch:
        yield _sealed(output) if recorded and run.is_sealed(recorded) else _merged(output, Path(scratch))


def _sealed(output: Output) -> Merged:
    brief = parquet.read_columns(output.ledger, SCHEMA, BRIEF.names, fix="Make the sealed table again.")
    if brief is None:
        raise UsageError(f"{redact(output.ledger)}: a sealed table without its ledger. Make the sealed table again.")
    return Merged(
        table=_with_stale(brief, pa.repeat(False, brief.num_rows)),
        parts=(),
        _files=(output.ledger,),
        _file=np.zeros(brief.num_rows, np.int64),
        _row=np.arange(brief.num_rows),
    )


def _merged(output: Output, scratch: Path) -> Merged:
    asked = manifest.read(output)
    files, known, file, row = _known(output)
    last = _last(known)
    place = pc.index_in(asked["url"], value_set=known["url"].take(pa.array(last)))
    # Where the shard's row stands in `known`; one past its end if nowhere.
    there = np.append(last, len(known))[place.fill_null(len(last)).to_numpy()]
    states = np.append(known["state"].to_numpy(), "missing")[there] if len(asked) else np.array([], object)

    sizes, failures = output.label_files(), output.failures()
    done = _among(asked["label_file"], sizes)
    failed = ~done & _among(asked["label_file"], (name + LABEL_SUFFIX for name in failures))
    labels = asked["label_file"]

    def footer(index: int) -> LedgerRow | None:
        name = labels[index].as_py()
        return _from_footer(output, name, sizes[name])

    def failure(index: int) -> LedgerRow | None:
        return _from_failure(output, labels[index].as_py().removesuffix(LABEL_SUFFIX))

    untold = [
        *((index, footer) for index in np.flatnonzero(done & (states != "done")).tolist()),
        *((index, failure) for index in np.flatnonzero(failed & (states != "failed")).tolist()),
    ]
    told, fresh = _read(untold, scratch / "told.parquet")

    # Rows come from what is known, from what was read just now, and from nowhere.
    source = np.where((done & (states == "done")) | (failed & (states == "failed")), there, _NOWHERE)
    source[told] = len(known) + np.arange(len(told))
    missing = np.flatnonzero(source == _NOWHERE)
    source[missing] = len(known) + len(told) + np.arange(len(missing))
    pool = pa.concat_tables([known, fresh, _missing(asked.take(pa.array(missing)))])
    table = _named(pool.take(pa.array(source)), labels)
    return Merged(
        table=_with_stale(table, _moved(table, asked)),
        parts=tuple(files[1:]),
        _files=(*files, str(scratch / "told.parquet")),
        _file=np.concatenate([file, np.full(len(told), len(files)), np.full(len(missing), _NOWHERE)])[source],
        _row=np.concatenate([row, np.arange(len(told)), np.zeros(len(missing), np.int64)])[source],
    )


def _known(output: Output) -> tuple[list[str], pa.Table, NDArray[np.int64], NDArray[np.int64]]:
    """Files of the ledger, all their rows, and of each row its file and its place there."""
    # The parts first: what a job that ends meanwhile merges and removes is in ledger.parquet by then.
    parts = output.ledger_parts()

    def brief(url: str) -> pa.Table:
        table = parquet.read_columns(url, SCHEMA, BRIEF.names, fix=FIX)
        return BRIEF.empty_table() if table is None else table

    with ThreadPoolExecutor(READERS) as threads:
        tables = list(threads.map(brief, parts))
    files, tables = [output.ledger, *parts], [brief(output.ledger), *tables]
    counts = [table.num_rows for table in tables]
    file = np.repeat(np.arange(len(files)), counts)
    row = np.concatenate([np.arange(count) for count in counts])
    return files, pa.concat_tables(tables), file, row


def _last(known: pa.Table) -> NDArray[np.int64]:
    """Of each shard the last row, or the last done one if it was ever done."""
    count = len(known)
    rank = np.arange(count) + count * pc.equal(known["state"], "done").to_numpy()
    ranked = pa.table({"url": known["url"], "rank": rank}).group_by("url").aggregate([("rank", "max")])
    best: NDArray[np.int64] = ranked["rank_max"].to_numpy() % max(count, 1)
    return best


def _read(
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


def _from_footer(output: Output, label_file: str, size: int | None) -> LedgerRow | None:
    try:
        with open_ranged(output.label(label_file.removesuffix(LABEL_SUFFIX)), size) as file:
            return LedgerRow.from_footer(check_file(file), file.seek(0, 2), label_file)
    except (FooterError, FileNotFoundError):
        # A damaged label file isn't labels: the shard counts as missing, and `verify` names the file.
        return None


def _from_failure(output: Output, label_name: str) -> LedgerRow | None:
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


def _rows_of(url: str, rows: NDArray[np.int64], columns: Sequence[str]) -> pa.Table | None:
    """Some rows of a ledger file, in their order; only their row groups are read."""
    with parquet.opened(url, SCHEMA, fix=FIX) as file:
        if file is None:
            return None
        ends = np.cumsum([file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)])
        if rows.max() >= ends[-1]:
            return None
        groups = np.unique(np.searchsorted(ends, rows, side="right"))
        table = file.read_row_groups(groups.tolist(), columns=list(columns)).select(columns)
        starts = np.concatenate([[0], ends])[groups]
        before = np.concatenate([[0], np.cumsum(ends[groups] - starts)])
        within = np.searchsorted(groups, np.searchsorted(ends, rows, side="right"))
        return table.take(pa.array(rows - starts[within] + before[within]))


def _among(values: pa.ChunkedArray, names: Iterable[str]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.is_in(values, value_set=pa.array(names, pa.string())).to_numpy()
    return found


def _missing(asked: pa.Table) -> pa.Table:
    """Rows of shards of which nothing is known but that they were asked for."""
    blank = LedgerRow(url="", state="missing").to_record()
    columns = {
        field.name: asked[field.name]
        if field.name in ("url", "size", "etag")
        else pa.array([blank[field.name]], field.type).take(pa.array(np.zeros(len(asked), np.int64)))
        for field in BRIEF
    }
    return pa.table(columns, schema=BRIEF)


def _named(table: pa.Table, label_files: pa.ChunkedArray) -> pa.Table:
    names = pc.if_else(pc.equal(table["state"], "done"), label_files, None)
    return table.set_column(BRIEF.get_field_index("label_file"), BRIEF.field("label_file"), names)


def _moved(table: pa.Table, asked: pa.Table) -> pa.ChunkedArray:
    """Which done shards have another etag than they were labeled with, and not the same bytes; none without an etag."""
    moved = pc.fill_null(pc.not_equal(table["etag"], asked["etag"]), False)
    same = pc.fill_null(pc.equal(table["etag"], asked["same_as"]), False)
    return pc.and_(pc.equal(table["state"], "done"), pc.and_not(moved, same))


def _with_stale(table: pa.Table, stale: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.append_column(MERGED.field("stale"), stale).cast(MERGED).combine_chunks()
