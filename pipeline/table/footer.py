"""The footer of a label file: enough to rebuild its row of the ledger without reading a column."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.pipeline.ledger.counts import Counts
from maskmill.pipeline.table.older import SCHEMAS
from maskmill.pipeline.table.schema import FOOTER_KEY, SCHEMA_VERSION


class FooterError(Exception):
    """A file that isn't a sound label file; the text says in one line what is wrong with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Footer:
    """Where a label file's rows come from, what made them, and how many there are."""

    fingerprint: str
    """Fingerprint of the run (run.json)."""

    shard: str
    """Canonical URL of the shard."""

    size: int | None
    """Bytes of the shard as the store said, when it was read."""

    etag: str | None
    """The store's version token of the shard, when it was read."""

    counts: Counts
    """The shard's ledger."""

    versions: dict[str, str]
    """Versions of maskmill and of the packages that shape labels."""

    device: str
    """Kind of device that computed the labels, such as cpu or NVIDIA H100."""

    batch_size: int
    """Images in a full batch."""

    def encode(self) -> dict[bytes, bytes]:
        """The footer as Parquet key-value metadata."""
        value = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        return {FOOTER_KEY: json.dumps(value, sort_keys=True).encode()}

    @classmethod
    def decode(cls, metadata: dict[bytes, bytes] | None) -> "Footer":
        """The footer in a Parquet file's metadata.

        Raises:
            FooterError: there is none, or one of a schema version that isn't read.
        """
        _, value = stated(metadata)
        try:
            return cls(**{**value, "counts": Counts.from_json(value["counts"])})
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError, RecursionError) as error:
            raise unreadable(error) from error


def stated(metadata: dict[bytes, bytes] | None) -> tuple[pa.Schema, dict[str, Any]]:
    """The columns that a file must have by the schema version in its footer, and the footer's other fields.

    Raises:
        FooterError: there is no footer, or one of a schema version that isn't read.
    """
    if not metadata or FOOTER_KEY not in metadata:
        raise FooterError("not written by maskmill: its footer has no run")
    try:
        value: dict[str, Any] = json.loads(metadata[FOOTER_KEY])
        version = value.pop("schema_version")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise unreadable(error) from error
    if type(version) is not int or version not in SCHEMAS:
        raise FooterError(f"schema version {str(version)[:20]}, this maskmill reads {', '.join(map(str, SCHEMAS))}")
    return SCHEMAS[version], value


def unreadable(error: Exception) -> FooterError:
    """What a footer is told as whose fields aren't what they must be."""
    return FooterError(f"its footer can't be read ({type(error).__name__})")


def parquet_facts(source: Path | BinaryIO) -> tuple[pa.Schema, int, dict[bytes, bytes] | None]:
    """Schema, number of rows and the footer's key-value pairs of a Parquet file; no column is read.

    Raises:
        FooterError: not Parquet, or cut short.
    """
    try:
        with pq.ParquetFile(source) as file:
            return file.schema_arrow, file.metadata.num_rows, file.metadata.metadata
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FooterError(f"not a whole Parquet file ({type(error).__name__})") from error


def check_file(source: Path | BinaryIO) -> Footer:
    """Footer of a label file whose schema and row count are as they must be; no column is read.

    Raises:
        FooterError: not Parquet, cut short, another schema, or another number of rows than its counts say.
    """
    schema, rows, metadata = parquet_facts(source)
    footer = Footer.decode(metadata)
    if not schema.equals(stated(metadata)[0]):
        raise FooterError("its columns aren't those of the label table")
    if rows != footer.counts.read:
        raise FooterError(f"{rows} rows, but its counts say {footer.counts.read}")
    return footer
