"""The footer of a sealed label file, which holds the rows of many shards. That of one shard's file is footer.py's."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from maskmill.pipeline.table.footer import FooterError, parquet_facts, stated, unreadable
from maskmill.pipeline.table.schema import FOOTER_KEY, SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedShard:
    """A shard's place in a sealed label file."""

    url: str
    """Canonical URL."""

    size: int | None
    """Bytes of the shard, as the store said when it was read."""

    etag: str | None
    """The store's version token of the shard, when it was read."""

    first_row: int
    """Its first row in the file, from 0."""

    rows: int
    """How many rows it has there; they are contiguous and in shard order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedFooter:
    """Which shards' rows a sealed label file holds, what made them, and how to know that they are all there."""

    fingerprint: str
    """Fingerprint of the run (run.json)."""

    shards: tuple[SealedShard, ...]
    """In the order of their rows, without a gap."""

    rows_sha256: str
    """`pipeline.table.digest.RowsDigest` of the file's rows, as they were in the label files they come from."""

    origin: str
    """Digest of what the ledger said of the label files that the rows come from: another, if one was replaced since."""

    versions: dict[str, str]
    """Versions of maskmill and its packages when the file was sealed."""

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return sum(shard.rows for shard in self.shards)

    def encode(self) -> dict[bytes, bytes]:
        """The footer as Parquet key-value metadata."""
        value = {"schema_version": SCHEMA_VERSION, "sealed": True, **asdict(self)}
        return {FOOTER_KEY: json.dumps(value, sort_keys=True).encode()}

    @classmethod
    def decode(cls, metadata: dict[bytes, bytes] | None) -> "SealedFooter":
        """The footer in a Parquet file's metadata.

        Raises:
            FooterError: there is none, one of a schema version that isn't read, or that of a file that isn't sealed.
        """
        _, value = stated(metadata)
        try:
            if value.pop("sealed", None) is not True:
                raise FooterError("not sealed: it holds one shard")
            footer = cls(**{**value, "shards": tuple(SealedShard(**shard) for shard in value["shards"])})
            first = 0
            for shard in footer.shards:
                if shard.first_row != first or shard.rows < 0:
                    raise FooterError(f"the rows of {shard.url} don't begin at row {first}, where they must")
                first += shard.rows
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise unreadable(error) from error
        return footer


def check_sealed(source: Path | BinaryIO) -> SealedFooter:
    """Footer of a sealed label file whose schema and row count are as they must be; no column is read.

    Raises:
        FooterError: not Parquet, cut short, not sealed, another schema, or another number of rows than its footer says.
    """
    schema, rows, metadata = parquet_facts(source)
    footer = SealedFooter.decode(metadata)
    if not schema.equals(stated(metadata)[0]):
        raise FooterError("its columns aren't those of the label table")
    if rows != footer.rows:
        raise FooterError(f"{rows} rows, but its footer says {footer.rows}")
    return footer
