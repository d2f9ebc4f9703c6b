"""The manifest: which shards a run was asked for. Each `label` into OUT adds what it names and OUT doesn't know yet."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline import parquet
from pipeline.ledger import part_name
from pipeline.output import Output
from pipeline.shard import Shard

SCHEMA = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("label_file", pa.string(), nullable=False),
    ]
)
"""Columns of manifest/*.parquet; size and etag are null for a shard that wasn't there when it was named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One shard that a run was asked for."""

    url: str
    """Canonical URL."""

    size: int | None
    """Bytes, as last seen."""

    etag: str | None
    """The store's version token, as last seen."""

    label_name: str
    """Name of its label file, without the suffix."""


def read(output: Output) -> dict[str, Asked]:
    """All shards asked for, by canonical URL, in the order of asking; the latest size and etag win.

    Raises:
        UsageError: a part is damaged.
    """
    asked: dict[str, Asked] = {}
    for part in output.manifest_parts():
        table = parquet.read(part, SCHEMA, fix="Remove it, and name its shards in the next `label`.")
        for record in [] if table is None else table.to_pylist():
            label_name = record.pop("label_file").removesuffix(".parquet")
            asked[record["url"]] = Asked(**record, label_name=label_name)
    return asked


def add(output: Output, shards: Sequence[Shard]) -> dict[str, Asked]:
    """Add shards that the manifest doesn't hold, or holds with another size or etag, as one new part.

    Returns:
        The manifest as it is now.
    """
    asked = read(output)
    new = [
        Asked(url=shard.url, size=shard.size, etag=shard.etag, label_name=shard.label_name)
        for shard in shards
        if (known := asked.get(shard.url)) is None or (known.size, known.etag) != (shard.size, shard.etag)
    ]
    if new:
        records = [
            {"url": row.url, "size": row.size, "etag": row.etag, "label_file": row.label_name + ".parquet"}
            for row in new
        ]
        parquet.write(pa.Table.from_pylist(records, schema=SCHEMA), output.manifest_part(part_name()))
    return asked | {row.url: row for row in new}
