"""The ledger: one row a shard, as Arrow rows and as Parquet parts. Who is missing is status.py's question."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa

from maskmill.pipeline import parquet
from maskmill.pipeline.ledger.counts import ClassCount, Counts
from maskmill.pipeline.ledger.failed_sample import FailedSample
from maskmill.pipeline.table.footer import Footer

State = Literal["done", "failed", "missing"]

PHASES = ("download", "decode", "model", "encode", "publish")
"""Where the seconds of a shard go. Phases overlap: decoding is summed over threads."""

SCHEMA = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("state", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("read", pa.int64(), nullable=False),
        pa.field("labeled", pa.int64(), nullable=False),
        pa.field("failed", pa.int64(), nullable=False),
        pa.field("failed_by_reason", pa.list_(pa.struct([("reason", pa.string()), ("samples", pa.int64())]))),
        pa.field("segments", pa.int64(), nullable=False),
        pa.field(
            "class_counts",
            pa.list_(pa.struct([("vocab_id", pa.int32()), ("segments", pa.int64()), ("images", pa.int64())])),
        ),
        pa.field("unkeyed", pa.int64(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
        pa.field("bytes", pa.int64()),
        pa.field("seconds", pa.struct([(phase, pa.float64()) for phase in PHASES])),
        pa.field("replica", pa.string()),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("started", pa.timestamp("us", tz="UTC")),
        pa.field("ended", pa.timestamp("us", tz="UTC")),
        pa.field("label_file", pa.string()),
        pa.field("first_row", pa.int64(), nullable=False),
        pa.field("label_sha256", pa.string()),
        pa.field("directories", pa.int64()),
        pa.field("warned", pa.list_(pa.struct([("warning", pa.string()), ("samples", pa.int64())]))),
    ]
)
"""Columns of ledger.parquet. Those from `label_sha256` on came after the first version, in whose files they are null.
One that a later maskmill adds comes at the end and may be null: older ledgers lack it."""

BRIEF = pa.schema([column for column in SCHEMA if column.name != "class_counts"])
"""The columns that a status needs: class counts are most of a ledger's bytes, and are left on disk."""


FIX = "Remove it; what it said is read from label files and failed/ instead."
"""What to do with a damaged ledger or part of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerRow:
    """What is known of one shard."""

    url: str
    """Canonical URL."""

    size: int | None = None
    """Bytes of the shard, as the store said."""

    etag: str | None = None
    """The store's version token of the bytes that were read."""

    state: State
    """done: its label file exists; failed: it could not be labeled; missing: neither."""

    error: str | None = None
    """`REASON: detail` of a failed shard."""

    counts: Counts = field(default_factory=Counts)
    """Samples and classes."""

    bytes: int | None = None
    """Bytes of the label file."""

    seconds: dict[str, float] | None = None
    """Seconds by phase (`PHASES`); None where only a footer was there to tell."""

    replica: str | None = None
    """Which replica labeled it: host and process."""

    attempts: int = 0
    """How often Ray gave it to a replica, this time included; one that died may not have begun it."""

    started: datetime | None = None
    """When its labeling began, UTC."""

    ended: datetime | None = None
    """When its labeling ended, labeled or failed, UTC."""

    label_file: str | None = None
    """Name of the label file below labels/, None unless done. In a sealed table a file holds several shards."""

    first_row: int = 0
    """The shard's first row in its label file; 0 unless the table is sealed."""

    label_sha256: str | None = None
    """sha256 (hexadecimal) of its label file, computed as the file was written. None where that wasn't recorded, as in
    runs of older versions and in rows that were read from the file itself: what stands there now proves nothing."""

    failed_samples: tuple[FailedSample, ...] = ()
    """The first samples of a shard of which too many failed. They stand in failed/ alone: no column."""

    @property
    def reason(self) -> str | None:
        """The fixed word at the front of `error`."""
        return None if self.error is None else self.error.partition(":")[0]

    def to_record(self) -> dict[str, Any]:
        """The row with `SCHEMA`'s names and types."""
        return {
            "url": self.url,
            "size": self.size,
            "etag": self.etag,
            "state": self.state,
            "error": self.error,
            "read": self.counts.read,
            "labeled": self.counts.labeled,
            "failed": sum(self.counts.failed.values()),
            "failed_by_reason": [{"reason": reason, "samples": n} for reason, n in self.counts.failed.items()],
            "segments": self.counts.segments,
            "class_counts": [
                {"vocab_id": c.vocab_id, "segments": c.segments, "images": c.images} for c in self.counts.classes
            ],
            "unkeyed": self.counts.unkeyed,
            "truncated": self.counts.truncated,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "replica": self.replica,
            "attempts": self.attempts,
            "started": self.started,
            "ended": self.ended,
            "label_file": self.label_file,
            "first_row": self.first_row,
            "label_sha256": self.label_sha256,
            "directories": self.counts.directories,
            "warned": [{"warning": word, "samples": n} for word, n in self.counts.warned.items()],
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "LedgerRow":
        """The row that `to_record` wrote; without `class_counts`, as in `BRIEF`, it names no classes."""
        counts = Counts(
            read=record["read"],
            labeled=record["labeled"],
            failed={entry["reason"]: entry["samples"] for entry in record["failed_by_reason"]},
            segments=record["segments"],
            classes=tuple(ClassCount(**entry) for entry in record.get("class_counts") or ()),
            unkeyed=record["unkeyed"],
            truncated=record["truncated"],
            directories=record.get("directories"),
            warned={entry["warning"]: entry["samples"] for entry in record.get("warned") or ()},
        )
        same = ("url", "size", "etag", "state", "error", "bytes", "seconds", "replica", "attempts", "started")
        return cls(
            counts=counts,
            **{name: record[name] for name in same},
            **{name: record[name] for name in ("ended", "label_file", "first_row", "label_sha256") if name in record},
        )

    def to_json(self) -> dict[str, Any]:
        """The row as JSON values: what stands in failed/."""
        record = self.to_record()
        record |= {name: moment.isoformat() for name in _MOMENTS if (moment := record[name]) is not None}
        return record | {"failed_samples": [asdict(sample) for sample in self.failed_samples]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "LedgerRow":
        """The row that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError, AssertionError: it is none.
        """
        moments = {name: datetime.fromisoformat(text) for name in _MOMENTS if (text := value.get(name)) is not None}
        samples = (FailedSample(**{**one, "members": tuple(one["members"])}) for one in value.get("failed_samples", ()))
        return replace(cls.from_record(value | moments), failed_samples=tuple(samples))

    @classmethod
    def from_footer(cls, footer: Footer, size: int, label_file: str) -> "LedgerRow":
        """The row of a done shard, as far as its label file (of `size` bytes) tells."""
        return cls(
            url=footer.shard,
            size=footer.size,
            etag=footer.etag,
            state="done",
            counts=footer.counts,
            bytes=size,
            attempts=1,
            label_file=label_file,
        )


_PART = "%Y%m%dT%H%M%S%fZ"

_MOMENTS = ("started", "ended")
"""Times, which JSON has no type for."""


def to_table(rows: Iterable[LedgerRow]) -> pa.Table:
    """Rows as a table of `SCHEMA`."""
    return pa.Table.from_pylist([row.to_record() for row in rows], schema=SCHEMA)


def from_table(table: pa.Table | pa.RecordBatch) -> list[LedgerRow]:
    """The rows of a table of `SCHEMA`."""
    return [LedgerRow.from_record(record) for record in table.to_pylist()]


def write(rows: Sequence[LedgerRow], url: str) -> None:
    """Publish rows as one Parquet file."""
    parquet.write(to_table(rows), url)


def read(url: str) -> list[LedgerRow]:
    """Rows of a published file; none where there is no file.

    Raises:
        UsageError: the file is damaged.
    """
    table = parquet.read(url, SCHEMA, fix=FIX)
    return [] if table is None else from_table(table)


def part_name(now: datetime | None = None) -> str:
    """A part's name, by time, so that names sort as parts were written."""
    moment = datetime.now(UTC) if now is None else now
    return moment.strftime(_PART)


def part_time(url: str) -> datetime | None:
    """When a part was written, from its name; None for a name that `part_name` didn't give."""
    try:
        return datetime.strptime(url.rsplit("/", 1)[-1], _PART + ".parquet").replace(tzinfo=UTC)
    except ValueError:
        return None


def part_seconds(written: int) -> float:
    """How long to wait before the next part: a new job is heard of soon, a long one leaves few parts."""
    return min(15.0 * 2.0 ** min(written, 3), 120.0)


def missing(url: str, size: int | None, etag: str | None) -> LedgerRow:
    """The row of a shard that was asked for and never reported."""
    return LedgerRow(url=url, size=size, etag=etag, state="missing")
