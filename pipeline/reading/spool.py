"""Brings a shard to local disk, whole and the one that was asked for. Looks at sizes and etags, never inside."""

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import EnvironmentFailure, UsageError
from pipeline.reading.errors import ShardError
from pipeline.shard import Shard, describe, local_path
from pipeline.urls import filesystem

SPARE_BYTES = 64 * 2**20
"""Free space that a download leaves on the scratch disk."""


def nothing() -> None:
    """Heeds no sign of life."""


@contextmanager
def spooled(shard: Shard, scratch: Path, *, alive: Callable[[], None] = nothing) -> Iterator[Path]:
    """A shard as a local file, for as long as the context lasts.

    A local shard is used where it lies. Any other is downloaded into `scratch` and deleted at the end, come what may.
    Some drivers (s3fs) take a body that ends early for the whole object, so the bytes are counted against the store's
    size, asked for after the download: an object that was replaced meanwhile is seen too.

    Raises:
        ShardError: missing, read, size_mismatch, changed; disk if the scratch disk is full.
    """
    if shard.missing:
        raise ShardError("missing", f"{shard.url} does not exist")
    path = local_path(shard.source)
    if path is not None:
        _compare(shard, _described(shard), path)
        yield path
        return
    _make_room(shard, scratch)
    with tempfile.NamedTemporaryFile(dir=scratch, prefix=f"{shard.label_name}-", suffix=".tar") as file:
        copy = Path(file.name)
        _download(shard, copy)
        _compare(shard, _described(shard), copy)
        yield copy


def _described(shard: Shard) -> Shard:
    """The shard as the store has it now."""
    try:
        now = describe(shard.source)
    except EnvironmentFailure as error:
        raise ShardError("read", str(error)) from error
    if now.missing:
        raise ShardError("missing", f"{shard.url} does not exist any more")
    return now


def _compare(shard: Shard, now: Shard, path: Path) -> None:
    if shard.etag is not None and now.etag is not None and shard.etag != now.etag:
        raise ShardError("changed", f"its etag was {shard.etag} when it was listed and is {now.etag} now; run again")
    if shard.size is not None and now.size is not None and shard.size != now.size:
        raise ShardError("changed", f"it had {shard.size:,} bytes when it was listed and has {now.size:,}; run again")
    there = path.stat().st_size
    if now.size is not None and there != now.size:
        raise ShardError("size_mismatch", f"{there:,} bytes arrived of {now.size:,} that the store has; run again")


def _make_room(shard: Shard, scratch: Path) -> None:
    free = shutil.disk_usage(scratch).free
    if shard.size is not None and shard.size + SPARE_BYTES > free:
        raise ShardError("disk", f"--scratch {scratch}: {free:,} bytes free, the shard has {shard.size:,}. Make room")


def _download(shard: Shard, copy: Path) -> None:
    try:
        fs, inside = filesystem(shard.source)
        fs.get_file(inside, str(copy))
    except FileNotFoundError as error:
        raise ShardError("missing", f"{shard.url} does not exist") from error
    except UsageError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ShardError("disk", f"--scratch {copy.parent}: {error.strerror}. Make room") from error
        raise ShardError("read", f"{type(error).__name__}: {error}") from error
