"""The last word on each shard asked for: manifest, ledger, its parts, label files and failed/ put together. No sums.

A ledger of half a million shards has gigabytes of class counts, which merging never looks at: the other columns are
merged in memory, and class counts are copied from file to file, a block of shards at a time.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from maskmill.models.errors import UsageError
from maskmill.models.scratch import scratch_folder
from maskmill.pipeline import parquet, run
from maskmill.pipeline.ledger import sources
from maskmill.pipeline.ledger.ledger import BRIEF, SCHEMA, LedgerRow
from maskmill.pipeline.ledger.sources import (
    BLOCK,
    LedgerReplacedError,
    from_failure,
    from_footer,
    read_untold,
    replaced,
    rows_of,
    unless_replaced,
)
from maskmill.pipeline.output import LABEL_SUFFIX, Output
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores.backoff import Fault, patiently
from maskmill.pipeline.stores.publish import version
from maskmill.pipeline.stores.urls import redact

MERGED = BRIEF.append(pa.field("stale", pa.bool_(), nullable=False))
"""Columns of a status: the ledger's without class counts, and whether a done shard's etag has moved since."""

_NOWHERE = -1

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """One row a shard, and where its class counts stand."""

    table: pa.Table
    """Columns `MERGED`; shards in the order of asking."""

    parts: tuple[str, ...]
    """Parts of the ledger that went into it, oldest first."""

    _version: str | None
    _files: tuple[str, ...]
    _file: NDArray[np.int64]
    _row: NDArray[np.int64]

    def blocks(self) -> Iterator[pa.Table]:
        """All columns of the ledger, `BLOCK` shards at a time; good inside the `with` of `merged`.

        Raises:
            LedgerReplacedError: the ledger was replaced meanwhile.
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
                url = self._files[number]
                with unless_replaced(url, self._version if number == 0 else None):
                    found = rows_of(url, rows[mine], ("url", "class_counts"))
                if found is None or not found["url"].equals(urls.take(pa.array(mine))):
                    raise replaced(url)
                pieces += found["class_counts"].chunks
            places.append(mine)
        return pa.chunked_array(pieces, kind).take(pa.array(np.argsort(np.concatenate(places))))

    def refuse_replaced(self) -> None:
        """Check that the ledger is the one that was read: what others have merged into it since must not be lost.

        Raises:
            LedgerReplacedError: it isn't.
        """
        if version(self._files[0]) != self._version:
            raise replaced(self._files[0])


def from_merged(
    output: Output, work: Callable[[Merged], _Result], *, wait: Callable[[float], None] = time.sleep
) -> _Result:
    """What `work` makes of the merged ledger (see `merged`), which is read again, a few times, where another process
    replaces it meanwhile.

    Args:
        output: a run or a sealed table.
        work: may be called several times.
        wait: sleeps so many seconds between two calls.

    Raises:
        UsageError, OutputError: as `merged`, and what `work` raises.
        LedgerReplacedError: it was replaced each time.
    """

    def attempt() -> _Result:
        with merged(output) as now:
            return work(now)

    def judge(error: BaseException) -> Fault:
        return "transient" if isinstance(error, LedgerReplacedError) else "permanent"

    return patiently(attempt, judge=judge, wait=wait)


def write(now: Merged, path: Path, *, without: Sequence[str] = ()) -> None:
    """Write the merged ledger as a local file, but for some shards.

    Raises:
        LedgerReplacedError: the ledger was replaced meanwhile.
    """
    gone = pa.array(without, pa.string())
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        for block in now.blocks():
            kept = block.filter(pc.invert(pc.is_in(block["url"], value_set=gone))) if without else block
            writer.write_table(kept, row_group_size=BLOCK)


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
    with scratch_folder() as scratch:
        if recorded is not None and run.is_sealed(recorded):
            yield _sealed(output)
        else:
            yield _merged(output, scratch, None if recorded is None else recorded["fingerprint"])


def _sealed(output: Output) -> Merged:
    before = version(output.ledger)
    brief = parquet.read_columns(output.ledger, SCHEMA, BRIEF.names, fix="Make the sealed table again.")
    if brief is None:
        raise UsageError(f"{redact(output.ledger)}: a sealed table without its ledger. Make the sealed table again.")
    return Merged(
        table=_with_stale(brief, pa.repeat(False, brief.num_rows)),
        parts=(),
        _version=before,
        _files=(output.ledger,),
        _file=np.zeros(brief.num_rows, np.int64),
        _row=np.arange(brief.num_rows),
    )


def _merged(output: Output, scratch: Path, fingerprint: str | None) -> Merged:
    asked = manifest.read(output)
    ledger = sources.known(output)
    known = ledger.table
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
        shard = Shard(**{name: asked[name][index].as_py() for name in ("url", "size", "etag")}, source="")
        return from_footer(output, shard, sizes[labels[index].as_py()], fingerprint)

    def failure(index: int) -> LedgerRow | None:
        return from_failure(output, labels[index].as_py().removesuffix(LABEL_SUFFIX))

    untold = [
        *((index, footer) for index in np.flatnonzero(done & (states != "done")).tolist()),
        *((index, failure) for index in np.flatnonzero(failed & (states != "failed")).tolist()),
    ]
    told, fresh = read_untold(untold, scratch / "told.parquet")

    # Rows come from what is known, from what was read just now, and from nowhere.
    source = np.where((done & (states == "done")) | (failed & (states == "failed")), there, _NOWHERE)
    source[told] = len(known) + np.arange(len(told))
    missing = np.flatnonzero(source == _NOWHERE)
    source[missing] = len(known) + len(told) + np.arange(len(missing))
    pool = pa.concat_tables([known, fresh, _missing(asked.take(pa.array(missing)))])
    table = _named(pool.take(pa.array(source)), labels)
    return Merged(
        table=_with_stale(table, _moved(table, asked)),
        parts=ledger.files[1:],
        _version=ledger.version,
        _files=(*ledger.files, str(scratch / "told.parquet")),
        _file=np.concatenate([ledger.file, np.full(len(told), len(ledger.files)), np.full(len(missing), _NOWHERE)])[
            source
        ],
        _row=np.concatenate([ledger.row, np.arange(len(told)), np.zeros(len(missing), np.int64)])[source],
    )


def _last(known: pa.Table) -> NDArray[np.int64]:
    """Of each shard the last row, or the last done one if it was ever done, one with a checksum before one without."""
    count = len(known)
    done = pc.equal(known["state"], "done").to_numpy()
    rank = np.arange(count) + count * (done + (done & known["label_sha256"].is_valid().to_numpy()))
    ranked = pa.table({"url": known["url"], "rank": rank}).group_by("url").aggregate([("rank", "max")])
    best: NDArray[np.int64] = ranked["rank_max"].to_numpy() % max(count, 1)
    return best


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
