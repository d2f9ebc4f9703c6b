"""The manifest: which shards a run was asked for. Each `label` into OUT adds what it names and OUT doesn't know yet."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline import parquet
from maskmill.pipeline.ledger.ledger import part_name
from maskmill.pipeline.output import LABEL_SUFFIX, Output
from maskmill.pipeline.shards.shard import Shard

SCHEMA = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("label_file", pa.string(), nullable=False),
    ]
)
"""Columns of manifest/*.parquet; size and etag are null for a shard that wasn't there when it was named."""


def read(output: Output) -> pa.Table:
    """All shards asked for, each once, in the order of asking; the latest size and etag win.

    Returns:
        A table of `SCHEMA`: half a million shards take about 100 MB.

    Raises:
        UsageError: a part is damaged.
    """
    parts = [
        table
        for part in output.manifest_parts()
        if (table := parquet.read(part, SCHEMA, fix="Remove it, and name its shards in the next `label`.")) is not None
    ]
    if not parts:
        return SCHEMA.empty_table()
    return parts[0] if len(parts) == 1 else _latest(pa.concat_tables(parts))


def add(output: Output, shards: Sequence[Shard]) -> int:
    """Add shards that the manifest doesn't hold, or holds with another size or etag, as one new part.

    Returns:
        How many were added.
    """
    named = pa.table(
        {
            "url": [shard.url for shard in shards],
            "size": [shard.size for shard in shards],
            "etag": [shard.etag for shard in shards],
            "label_file": [shard.label_name + LABEL_SUFFIX for shard in shards],
        },
        schema=SCHEMA,
    )
    asked = read(output)
    place = pc.index_in(named["url"], value_set=asked["url"])
    same = pc.is_valid(place)
    for column in ("size", "etag"):
        same = pc.and_(same, _equal(asked[column].take(place), named[column]))
    new = named.filter(pc.invert(same))
    if new.num_rows:
        parquet.write(new, output.manifest_part(part_name()))
    return int(new.num_rows)


def _latest(table: pa.Table) -> pa.Table:
    """One row a shard: the last one, at the place of the first."""
    counted = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
    found = counted.group_by("url", use_threads=False).aggregate([("row", "min"), ("row", "max")])
    return table.take(found.sort_by("row_min")["row_max"])


def _equal(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where both are equal or both null."""
    return pc.or_(pc.fill_null(pc.equal(left, right), False), pc.and_(pc.is_null(left), pc.is_null(right)))
