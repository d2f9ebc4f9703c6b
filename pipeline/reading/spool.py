"""Brings a shard to local disk, whole and the one asked for. Compares size, etag and checksum; parses nothing."""

import errno
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.scratch import scratch_folder
from maskmill.pipeline.reading.checksum import digest, told
from maskmill.pipeline.reading.errors import ShardError
from maskmill.pipeline.reading.growth import watched
from maskmill.pipeline.shards.shard import Shard, describe, local_path, look
from maskmill.pipeline.stores.backoff import Fault, fault, patiently
from maskmill.pipeline.stores.names import scheme_of
from maskmill.pipeline.stores.stores import download_options
from maskmill.pipeline.stores.urls import filesystem

SPARE_BYTES = 64 * 2**20
"""Free space that a download leaves on the scratch disk."""

_AGAIN = ("size_mismatch", "checksum")
"""What is fetched again although the store answered: bytes that were lost or damaged on their way."""

_DAMAGED = ("FlexibleChecksumError", "ChecksumError")
"""What botocore and gcsfs raise where they compare checksums themselves."""


def nothing() -> None:
    """Heeds no sign of life."""


@contextmanager
def spooled(
    shard: Shard,
    scratch: Path,
    *,
    alive: Callable[[], None] = nothing,
    wait: Callable[[float], None] | None = None,
) -> Iterator[Path]:
    """A shard as a local file, for as long as the context lasts.

    A local shard is used where it lies. Any other is downloaded into a folder of `scratch`, which is removed at the
    end, come what may. Drivers take a body that ends early, or one with a flipped bit, for the whole object, so size
    and checksum are compared with what the store says: it is asked after the download, with the request that also
    shows whether the object was replaced since it was listed. So parts of two versions, as a resumed download may put
    together, never pass.

    Args:
        shard: as `pipeline.shards.shard.describe` gives it.
        scratch: an existing directory on a local disk.
        alive: called, from another thread, whenever bytes have arrived.
        wait: sleeps so many seconds between attempts; by default with a sign of life each second, since a wait of our
            own is no stall.

    Raises:
        ShardError: missing, read, size_mismatch, checksum, changed; disk if the scratch disk is full.
    """
    if shard.missing:
        raise ShardError("missing", f"{shard.url} does not exist")
    path = local_path(shard.source)
    if path is not None:
        _compare(shard, _described(shard), path)
        yield path
        return
    _make_room(shard, scratch)
    with scratch_folder(scratch) as folder:
        copy = folder / f"{shard.label_name}.tar"
        try:
            patiently(
                lambda: _fetch(shard, copy, alive),
                judge=_judge,
                renew=lambda: _forget_client(shard),
                wait=wait or partial(_asleep, alive),
            )
        except (ShardError, UsageError):
            raise
        except Exception as error:
            raise _told(shard, copy, error) from error
        yield copy


def _asleep(alive: Callable[[], None], seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        alive()
        time.sleep(min(left, 1.0))


def _fetch(shard: Shard, copy: Path, alive: Callable[[], None]) -> None:
    """One attempt at the whole shard."""
    copy.unlink(missing_ok=True)
    fs, inside = filesystem(shard.source)
    with watched(copy, alive):
        fs.get_file(inside, str(copy), **download_options(shard.source))
    now, info = look(shard.source)
    if now.missing:
        raise ShardError("missing", f"{shard.url} does not exist any more")
    _compare(shard, now, copy)
    expected = told(scheme_of(shard.source) or "", info)
    if expected is not None and digest(copy, expected.algorithm) != expected.value:
        raise ShardError(
            "checksum", f"the bytes that arrived don't have the {expected.algorithm} that the store states"
        )


def _judge(error: BaseException) -> Fault:
    if isinstance(error, ShardError):
        return "transient" if error.reason in _AGAIN else "permanent"
    return fault(error)


def _forget_client(shard: Shard) -> None:
    """Let the next `filesystem` make a client anew, which looks up its credentials anew."""
    type(filesystem(shard.source)[0]).clear_instance_cache()


def _told(shard: Shard, copy: Path, error: Exception) -> ShardError:
    """What a driver's error means for the shard."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ShardError("disk", f"--scratch {copy.parent.parent}: {error.strerror}. Make room")
    if isinstance(error, FileNotFoundError) and fault(error) == "permanent":
        return ShardError("missing", f"{shard.url} does not exist")
    if type(error).__name__ in _DAMAGED:
        return ShardError("checksum", f"{type(error).__name__}: {error}")
    return ShardError("read", f"{type(error).__name__}: {error}")


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
