"""The manifest: which shards a run was asked for. Each `label` into OUT adds what it names and OUT doesn't know yet.

Parts are only ever added: programs at work on one run need not know of each other. A shard's last row wins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline import parquet
from maskmill.pipeline.ledger.ledger import part_name
from maskmill.pipeline.output import LABEL_SUFFIX, Output
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores.urls import quoted

SCHEMA = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("label_file", pa.string(), nullable=False),
        pa.field("same_as", pa.string()),
        pa.field("forgotten", pa.bool_()),
    ]
)
"""Columns of manifest/*.parquet; size and etag are null for a shard that wasn't there when it was named.

`same_as` is the etag that the shard was labeled with, where its bytes were compared and are the same under `etag`.
`forgotten` is true where the shard is taken out of the run. Parts of older versions lack these two.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelFiles:
    """The label files of a run that stand in labels/: those that its manifest names, and no others."""

    sizes: Mapping[str, int | None]
    """Their names, sorted, with their bytes where the listing tells."""

    asked: int
    """Shards that the run was asked for, with a label file or without."""


def read(output: Output) -> pa.Table:
    """All shards asked for, each once, in the order of asking; the latest size and etag win.

    Returns:
        A table of `SCHEMA`: half a million shards take about 100 MB.

    Raises:
        UsageError: a part is damaged.
    """
    return _read(output.manifest_parts())


def label_files(output: Output) -> LabelFiles:
    """The run's label files, by a listing each of labels/ and manifest/; of labels without a manifest, all `*.parquet`.

    Raises:
        UsageError: a part of the manifest is damaged.
        OutputError: a folder can't be listed.
    """
    standing = dict(sorted(output.label_files().items()))
    if not (parts := output.manifest_parts()):
        return LabelFiles(sizes=standing, asked=len(standing))
    asked = _read(parts)["label_file"].to_pylist()
    named = frozenset(asked)
    return LabelFiles(sizes={name: size for name, size in standing.items() if name in named}, asked=len(asked))


def incomplete_line(output: Output, *, labeled: int, asked: int) -> str | None:
    """A line for people that says how many of a run's shards have no labels; None if all have."""
    if labeled >= asked:
        return None
    have = "has" if asked - labeled == 1 else "have"
    return (
        f"incomplete: {asked - labeled:,} of {asked:,} shards {have} no labels; "
        f"`maskmill status {quoted(output.url)}` says which"
    )


def add(output: Output, shards: Sequence[Shard]) -> int:
    """Add shards that the manifest doesn't hold, or holds with another size or etag, as one new part.

    Returns:
        How many were added.
    """
    named = _rows(shards)
    asked = read(output)
    place = pc.index_in(named["url"], value_set=asked["url"])
    same = pc.is_valid(place)
    for column in ("size", "etag"):
        same = pc.and_(same, _equal(asked[column].take(place), named[column]))
    return _append(output, named.filter(pc.invert(same)))


def forget(output: Output, shards: Sequence[Shard]) -> None:
    """Take shards out of the run, by one new part; a later `label` that names one adds it again."""
    _append(output, _rows(shards, forgotten=True))


def accept(output: Output, shards: Sequence[Shard], labeled: Sequence[str]) -> None:
    """Record that shards have the bytes that they were labeled with, whatever their etags are now.

    Args:
        output: the run.
        shards: as their stores have them now.
        labeled: of each, the etag that it was labeled with.
    """
    _append(output, _rows(shards, same_as=labeled))


def _read(parts: Sequence[str]) -> pa.Table:
    fix = "Remove it, and name its shards in the next `label`."
    found = (parquet.read(part, SCHEMA, fix=fix) for part in parts)
    tables = [table for table in found if table is not None]
    if not tables:
        return SCHEMA.empty_table()
    table = tables[0] if len(tables) == 1 else _latest(pa.concat_tables(tables))
    return table.filter(pc.invert(pc.fill_null(table["forgotten"], False)))


def _rows(shards: Sequence[Shard], *, same_as: Sequence[str] | None = None, forgotten: bool | None = None) -> pa.Table:
    return pa.table(
        {
            "url": [shard.url for shard in shards],
            "size": [shard.size for shard in shards],
            "etag": [shard.etag for shard in shards],
            "label_file": [shard.label_name + LABEL_SUFFIX for shard in shards],
            "same_as": [None] * len(shards) if same_as is None else same_as,
            "forgotten": [forgotten] * len(shards),
        },
        schema=SCHEMA,
    )


def _append(output: Output, rows: pa.Table) -> int:
    if rows.num_rows:
        parquet.write(rows, output.manifest_part(part_name()))
    return int(rows.num_rows)


def _latest(table: pa.Table) -> pa.Table:
    """One row a shard: the last one, at the place of the first."""
    counted = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
    found = counted.group_by("url", use_threads=False).aggregate([("row", "min"), ("row", "max")])
    return table.take(found.sort_by("row_min")["row_max"])


def _equal(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where both are equal or both null."""
    return pc.or_(pc.fill_null(pc.equal(left, right), False), pc.and_(pc.is_null(left), pc.is_null(right)))
