"""Finds shards that can't be read by a look at their first bytes, before a model is loaded for them."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from maskmill.models.errors import UsageError
from maskmill.models.scratch import scratch_folder
from maskmill.pipeline.reading.archive import BLOCK, check_archive
from maskmill.pipeline.reading.errors import ShardError, ShardReason
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.spool import spooled
from maskmill.pipeline.shards.shard import Shard, local_path
from maskmill.pipeline.stores.names import scheme_of
from maskmill.pipeline.stores.urls import filesystem

LOCAL, STORED = 1_000, 16
"""How many shards are looked at: of local ones, where a look is one read of a disk, and of those in a store, where it
is one request. Whoever names thousands has begun with few."""

_RANGES = ("s3", "gs", "az")
"""Stores that send no more of an object than was requested."""

_BYTES = 2 * BLOCK

_DECIDED: frozenset[ShardReason] = frozenset({"empty", "not_tar", "compressed"})
"""What the first block alone decides."""

_REQUESTS = 16


def unreadable(shards: Sequence[Shard], limits: ReadLimits) -> Mapping[str, ShardError]:
    """Why shards would fail, by canonical URL, in the words of `open_shard`; those that may be read are left out.

    Shards that don't exist are all found; of the others the first `LOCAL` and `STORED` are looked at. What a store
    doesn't answer is no fault of a shard here: reading it tries longer.

    Args:
        shards: as `pipeline.shards.shard.describe` gives them.
        limits: what the shards may cost.
    """
    absent = [shard for shard in shards if shard.missing]
    local = [shard for shard in shards if not shard.missing and local_path(shard.source) is not None]
    stored = [shard for shard in shards if not shard.missing and scheme_of(shard.source) in _RANGES]
    looked_at = [*absent, *local[:LOCAL], *stored[:STORED]]
    with scratch_folder() as scratch, ThreadPoolExecutor(_REQUESTS) as threads:
        errors = threads.map(partial(_error, scratch=scratch, limits=limits), looked_at)
        found = {shard.url: error for shard, error in zip(looked_at, errors, strict=True) if error is not None}
    return {shard.url: found[shard.url] for shard in shards if shard.url in found}


def refuse_unreadable(sources: Iterable[Shard | Path]) -> None:
    """Refuse shards that a training or an evaluation could not read; of folders nothing is looked at.

    Raises:
        UsageError: one is known to fail.
    """
    found = unreadable([source for source in sources if isinstance(source, Shard)], ReadLimits())
    for url, error in found.items():
        raise UsageError(f"{url}: can't be read: {error}. Mend it, or leave it out.")


def _error(shard: Shard, scratch: Path, limits: ReadLimits) -> ShardError | None:
    try:
        start = scratch / shard.label_name
        start.write_bytes(_start(shard, scratch))
        check_archive(start, limits)
    except ShardError as error:
        return error if shard.missing or error.reason in _DECIDED else None
    except Exception:
        # Each store's driver has errors of its own; whoever reads the shard reports them.
        return None
    return None


def _start(shard: Shard, scratch: Path) -> bytes:
    if shard.missing or local_path(shard.source) is not None:
        with spooled(shard, scratch) as path, path.open("rb") as file:
            return file.read(_BYTES)
    fs, inside = filesystem(shard.source)
    data: bytes = fs.cat_file(inside, start=0, end=_BYTES)
    return data
