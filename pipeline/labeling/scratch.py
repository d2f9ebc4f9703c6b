"""Folders on scratch, one for each shard in work: gone after use, and after a kill by whoever comes next.

An flock on a file in the folder says that a process uses it; the kernel drops it when the process ends, however it
ends. Several replicas, and several jobs, may share one scratch.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "maskmill-shard-"
"""Folders of scratch whose names begin so are ours to remove; nothing else is touched."""

_HELD = ".held"
"""The file in each folder that its process holds a lock on."""

YOUNG_SECONDS = 60
"""A folder without that file, and younger than this, is one that is just being made."""


@contextmanager
def shard_folder(scratch: Path) -> Iterator[Path]:
    """A folder of scratch for one shard's files, removed with all it holds at the end, come what may.

    Raises:
        OSError: scratch isn't there, or can't be written.
    """
    folder, held = _made(scratch)
    try:
        yield folder
    finally:
        # Removed while still held: nobody else may begin to remove it meanwhile.
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _made(scratch: Path) -> tuple[Path, int]:
    """A new folder and the descriptor that holds it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=scratch))
        descriptor = os.open(folder / _HELD, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        # Between these lines `clean` of another process may have taken it for one that was left behind.
        if _lock(descriptor) and (folder / _HELD).exists():
            return folder, descriptor
        os.close(descriptor)


def clean(scratch: Path) -> int:
    """Remove the folders of scratch whose processes are gone.

    Returns:
        How many were removed. One that can't be looked at or removed (another user's) stays.
    """
    removed = 0
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for folder in sorted(scratch.glob(f"{PREFIX}*")):
            with contextlib.suppress(OSError):
                removed += _removed(folder)
    return removed


def _removed(folder: Path) -> bool:
    # Links are not followed: only what stands in scratch itself is ours.
    if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.geteuid():
        return False
    try:
        descriptor = os.open(folder / _HELD, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        # Its process was killed before it could lock, or hasn't come to it yet.
        if time.time() - folder.stat().st_mtime < YOUNG_SECONDS:
            return False
        shutil.rmtree(folder)
        return True
    try:
        if not _lock(descriptor):
            return False
        shutil.rmtree(folder)
        return True
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Take the lock without waiting; False if somebody holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
