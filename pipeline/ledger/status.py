"""Where a run stands: every shard asked for is done, failed or missing, and every sample of it is accounted for."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.models.scratch import scratch_folder
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.ledger import BRIEF, LedgerRow
from maskmill.pipeline.ledger.merging import MERGED, Merged, from_merged, write
from maskmill.pipeline.ledger.sources import BLOCK
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.stores.leftovers import remove_leftovers
from maskmill.pipeline.stores.publish import publish, remove_all, remove_folder

LISTED = 100
"""Failed or stale shards that a property holds; `rows` and `urls` give them all, one after the other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """A run's ledger, added up. It holds columns, not objects: 500,000 shards take about 200 MB."""

    table: pa.Table
    """Columns `merging.MERGED`, one row a shard asked for, in the order of asking."""

    @classmethod
    def from_rows(cls, rows: Iterable[LedgerRow], stale: Collection[str] = ()) -> "Status":
        """The status of some rows, of which some are stale."""
        table = ledger.to_table(rows).select(BRIEF.names)
        moved = pa.array([url in stale for url in table["url"].to_pylist()], pa.bool_())
        return cls(table=table.append_column(MERGED.field("stale"), moved))

    def __len__(self) -> int:
        """Shards asked for."""
        return int(self.table.num_rows)

    def of(self, urls: Iterable[str]) -> "Status":
        """The part of some shards."""
        mine = pc.is_in(self.table["url"], value_set=pa.array(urls, pa.string()))
        return Status(table=self.table.filter(mine))

    def shards(self, state: str) -> int:
        """How many shards are done, failed or missing, or (a part of the done) stale."""
        return int(pc.sum(self._in(state)).as_py() or 0)

    def rows(self, state: str | None = None) -> Iterator[LedgerRow]:
        """Rows one after the other, all or those in a state. They name no classes: `ledger.read` does."""
        table = self.table if state is None else self.table.filter(self._in(state))
        for batch in table.select(BRIEF.names).to_batches(max_chunksize=BLOCK):
            yield from map(LedgerRow.from_record, batch.to_pylist())

    def urls(self, state: str) -> Iterator[str]:
        """Canonical URLs of the shards in a state, one after the other."""
        for batch in self.table.select(["url"]).filter(self._in(state)).to_batches(max_chunksize=BLOCK):
            yield from batch.column(0).to_pylist()

    @property
    def all_done(self) -> bool:
        """Whether no shard is failed or missing."""
        return self.shards("done") == len(self)

    def incomplete(self, output: Output) -> str | None:
        """A line that says how many of the run's shards have no labels; None if all have."""
        return manifest.incomplete_line(output, labeled=self.shards("done"), asked=len(self))

    @property
    def read(self) -> int:
        """Samples in done shards."""
        return self._sum("read")

    @property
    def labeled(self) -> int:
        """Labeled samples in done shards."""
        return self._sum("labeled")

    @property
    def segments(self) -> int:
        """Segments in done shards."""
        return self._sum("segments")

    @property
    def bytes(self) -> int:
        """Bytes of the label files."""
        return self._sum("bytes")

    @property
    def failed_by_reason(self) -> dict[str, int]:
        """Failed samples of done shards by reason, most frequent first."""
        return self._samples_by_word("failed_by_reason")

    @property
    def warned(self) -> dict[str, int]:
        """Samples of done shards by warning, most frequent first; none are known where an earlier version labeled."""
        return self._samples_by_word("warned")

    @property
    def failures(self) -> tuple[LedgerRow, ...]:
        """Rows of the first `LISTED` failed shards."""
        return tuple(Status(table=self.table.filter(self._in("failed")).slice(0, LISTED)).rows())

    @property
    def stale(self) -> tuple[str, ...]:
        """Canonical URLs of the first `LISTED` done shards whose etag has moved since they were labeled."""
        return tuple(Status(table=self.table.filter(self._in("stale")).slice(0, LISTED)).urls("stale"))

    @property
    def absent(self) -> int:
        """Failed shards whose store has no such object."""
        return int(pc.sum(pc.starts_with(self.table.filter(self._in("failed"))["error"], "missing:")).as_py() or 0)

    @property
    def unkeyed(self) -> int:
        """Files in done shards that belong to no sample."""
        return self._sum("unkeyed")

    @property
    def directories(self) -> int:
        """Directories in done shards; none are known where an earlier version labeled."""
        return self._sum("directories")

    @property
    def truncated(self) -> int:
        """Done shards that were cut, of which only whole samples were taken."""
        return self._sum("truncated")

    @property
    def _done(self) -> pa.Table:
        return self.table.filter(self._in("done"))

    def _in(self, state: str) -> pa.ChunkedArray:
        return self.table["stale"] if state == "stale" else pc.equal(self.table["state"], state)

    def _samples_by_word(self, column: str) -> dict[str, int]:
        entries = pa.table({"entry": pc.list_flatten(self._done[column])}).flatten()
        sums = entries.rename_columns(["word", "samples"]).group_by("word").aggregate([("samples", "sum")])
        ranked = sums.sort_by([("samples_sum", "descending"), ("word", "ascending")])
        return dict(zip(ranked["word"].to_pylist(), ranked["samples_sum"].to_pylist(), strict=True))

    def _sum(self, column: str) -> int:
        kept = pc.if_else(self._in("done"), pc.cast(self.table[column], pa.int64()), 0)
        return int(pc.sum(kept).as_py() or 0)


def status(output: Output) -> Status:
    """Where the run stands now, from the manifest, the ledger and one listing each of labels/ and failed/.

    Raises:
        UsageError: a file of these is damaged.
        OutputError: one can't be read.
    """
    return Status(table=from_merged(output, lambda now: now.table))


def settle(output: Output, *, without: Sequence[str] = ()) -> Status:
    """Merge the ledger's parts into ledger.parquet, with what label files and failures say where no part does.

    Where another process replaces ledger.parquet meanwhile it is merged again, so that neither's rows are lost.

    Args:
        output: the run.
        without: canonical URLs of shards that the new ledger.parquet says nothing of.

    Raises:
        UsageError, OutputError: as `status`.
        EnvironmentFailure: it was replaced again and again.
    """

    def publish_merged(now: Merged) -> Merged:
        with scratch_folder() as scratch:
            local = scratch / "ledger.parquet"
            write(now, local, without=without)
            now.refuse_replaced()
            publish(local, output.ledger)
        return now

    now = from_merged(output, publish_merged)
    remove_all(now.parts)
    if now.parts:
        remove_folder(output.parts)
    for folder in output.folders:
        remove_leftovers(folder)
    return Status(table=now.table)
