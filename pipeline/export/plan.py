"""What is exported in which order, and the numbers that follow from it. Reads no label file."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.ledger.status import Status
from maskmill.pipeline.shards.moved import UNMOVED, ShardsAt
from maskmill.pipeline.shards.shard import Shard

_COLUMNS = ["url", "size", "etag", "read", "segments"]
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlan:
    """One done shard, and what its numbers start from."""

    number: int
    """Position among the done shards in order of URL, from 0."""

    shard: Shard
    """As it was when it was labeled."""

    read: int
    """Its samples, failed ones included."""

    segments: int
    """Its segments, before any filter."""

    first_image: int
    """Image id of its first sample."""

    first_segment: int
    """Number of its first segment."""


def done(status: Status) -> pa.Table:
    """The done shards in order of URL: the same for a table and its sealed copy, whatever order it was asked in."""
    return status.table.filter(pc.equal(status.table["state"], "done")).select(_COLUMNS).sort_by("url")


def plans(shards: pa.Table, moved: ShardsAt = UNMOVED) -> Iterator[ShardPlan]:
    """Plans of the shards that `done` gives, one after the other; `moved` says where their sources lie."""
    number, image, segment = 0, 1, 1
    for batch in shards.to_batches(max_chunksize=_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            yield ShardPlan(
                number=number,
                shard=Shard(url=row["url"], source=moved.source(row["url"]), size=row["size"], etag=row["etag"]),
                read=row["read"],
                segments=row["segments"],
                first_image=image,
                first_segment=segment,
            )
            number, image, segment = number + 1, image + row["read"], segment + row["segments"]
