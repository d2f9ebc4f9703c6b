"""Temporary folders: gone after use, and after a kill when the next maskmill makes one in the same place.

An flock on a file in the folder says that a process uses it; the kernel drops it when the process ends, however it
ends. Several replicas, and several jobs, may share one place.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskmill.models.disk import disk_errors

PREFIX = "maskmill-scratch-"
"""How the names of temporary folders begin."""

_OURS = re.compile(r"maskmill-(scratch|shard)-[a-z0-9_]{8}")
"""Folders of such names are ours to remove, those of an earlier version among them; nothing else is touched."""

_HELD = ".held"
"""The file in each folder that its process holds a lock on."""

YOUNG_SECONDS = 60
"""A folder without that file, and younger than this, is one that is just being made."""


@contextmanager
def scratch_folder(scratch: Path | None = None) -> Iterator[Path]:
    """A temporary folder, removed with all it holds at the end, come what may.

    Args:
        scratch: the existing folder that it is made in, and that is cleaned first (see `clean`); the system's for
            temporary files by default.

    Raises:
        OSError: scratch isn't there, or no folder can be made in it.
        EnvironmentFailure: its disk is full, or fails.
    """
    scratch = Path(tempfile.gettempdir()) if scratch is None else scratch
    clean(scratch)
    folder, held = _made(scratch)
    try:
        with disk_errors(scratch):
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
        if holds(descriptor, folder / _HELD):
            return folder, descriptor
        os.close(descriptor)


def clean(scratch: Path) -> int:
    """Remove the temporary folders in a place whose processes are gone.

    Returns:
        How many were removed. One that can't be looked at or removed (another user's) stays.
    """
    removed = 0
    with contextlib.suppress(OSError):
        for folder in sorted(scratch.iterdir()):
            if _OURS.fullmatch(folder.name):
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
        if not lock(descriptor):
            return False
        shutil.rmtree(folder)
        return True
    finally:
        os.close(descriptor)


def holds(descriptor: int, path: Path) -> bool:
    """Lock a file that this process has just made; False if another took it for one that was left behind meanwhile.

    On a file system without locks it counts as held: others can't lock it either.
    """
    try:
        held = lock(descriptor)
    except OSError:
        held = True
    return held and path.exists()


def lock(descriptor: int) -> bool:
    """Take an flock on an open file without waiting; False if another process holds it.

    Raises:
        OSError: a file system without locks, among other things.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
