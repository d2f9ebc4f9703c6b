"""Where a run stands: every shard asked for is done, failed or missing, and every sample of it is accounted for."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from models.errors import UsageError
from pipeline import ledger, manifest
from pipeline.ledger import LedgerRow
from pipeline.output import Output
from pipeline.publish import remove, remove_folder
from pipeline.table.footer import FooterError, check_file
from pipeline.urls import filesystem, redact


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """A run's ledger, added up."""

    rows: tuple[LedgerRow, ...]
    """One row a shard asked for, in the order of asking."""

    stale: tuple[str, ...]
    """Canonical URLs of done shards whose etag has moved since they were labeled."""

    def shards(self, state: str) -> int:
        """How many shards are in a state."""
        return sum(row.state == state for row in self.rows)

    @property
    def read(self) -> int:
        """Samples in done shards."""
        return sum(row.counts.read for row in self._done)

    @property
    def labeled(self) -> int:
        """Labeled samples in done shards."""
        return sum(row.counts.labeled for row in self._done)

    @property
    def segments(self) -> int:
        """Segments in done shards."""
        return sum(row.counts.segments for row in self._done)

    @property
    def bytes(self) -> int:
        """Bytes of the label files."""
        return sum(row.bytes or 0 for row in self._done)

    @property
    def failed_by_reason(self) -> dict[str, int]:
        """Failed samples of done shards by reason, most frequent first."""
        reasons: Counter[str] = Counter()
        for row in self._done:
            reasons.update(row.counts.failed)
        return dict(reasons.most_common())

    @property
    def failures(self) -> tuple[LedgerRow, ...]:
        """Rows of failed shards."""
        return tuple(row for row in self.rows if row.state == "failed")

    @property
    def unkeyed(self) -> int:
        """Files in done shards that belong to no sample."""
        return sum(row.counts.unkeyed for row in self._done)

    @property
    def truncated(self) -> int:
        """Done shards that were cut, of which only whole samples were taken."""
        return sum(row.counts.truncated for row in self._done)

    @property
    def _done(self) -> list[LedgerRow]:
        return [row for row in self.rows if row.state == "done"]


def status(output: Output) -> Status:
    """Where the run stands now, from the manifest, the ledger and one listing each of labels/ and failed/.

    Raises:
        UsageError: a file of these is damaged.
    """
    asked = manifest.read(output)
    known = _known(output)
    done, failures = output.done(), output.failures()
    rows = []
    for shard in asked.values():
        row = known.get(shard.url)
        if shard.label_name in done:
            if row is None or row.state != "done":
                row = _from_footer(output, shard.label_name)
        elif shard.label_name in failures:
            if row is None or row.state != "failed":
                row = _from_failure(output, shard.label_name)
        else:
            row = None
        rows.append(row or ledger.missing(shard.url, shard.size, shard.etag))
    stale = tuple(
        row.url
        for row in rows
        if row.state == "done" and (etag := asked[row.url].etag) is not None and row.etag not in (None, etag)
    )
    return Status(rows=tuple(rows), stale=stale)


def settle(output: Output) -> Status:
    """Merge the ledger's parts into ledger.parquet, with what label files and failures say where no part does."""
    parts = output.ledger_parts()
    now = status(output)
    ledger.write(now.rows, output.ledger)
    for part in parts:
        remove(part)
    if parts:
        remove_folder(output.parts)
    return now


def _known(output: Output) -> Mapping[str, LedgerRow]:
    rows = ledger.read(output.ledger)
    for part in output.ledger_parts():
        rows += ledger.read(part)
    return ledger.merge(rows)


def _from_footer(output: Output, label_name: str) -> LedgerRow | None:
    fs, path = filesystem(output.label(label_name))
    try:
        with fs.open(path, "rb") as file:
            footer = check_file(file)
            return LedgerRow.from_footer(footer, int(fs.size(path)))
    except (FooterError, FileNotFoundError):
        # A damaged label file isn't labels: the shard counts as missing, and `verify` names the file.
        return None


def _from_failure(output: Output, label_name: str) -> LedgerRow | None:
    record = output.read_json(output.failed(label_name))
    if record is None:
        return None
    try:
        return LedgerRow.from_record({**record, "started": None})
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise UsageError(
            f"{redact(output.failed(label_name))}: damaged, expected the record of a failed shard. "
            "Remove it and run the same `label` again."
        ) from error
