"""Makes a finished local file appear at its place all at once: one rename on a file system, one PUT on a store."""

import contextlib
import os
import shutil
import uuid
from pathlib import Path

from pipeline.urls import filesystem


def is_local(url: str) -> bool:
    """Whether a URL names a place on this machine's file systems."""
    return "://" not in url or url.startswith(("file://", "local://"))


def publish(local: Path, url: str) -> None:
    """Put a whole local file at `url`; a reader sees the old file or the new one, never a part.

    Raises:
        OSError: the place can't be written (FileNotFoundError, PermissionError, no space left).
    """
    fs, path = filesystem(url)
    if not is_local(url):
        fs.put_file(str(local), path)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The copy stands beside its place, so that the rename never crosses file systems; no reader's glob takes its name.
    waiting = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        shutil.copyfile(local, waiting)
        with waiting.open("rb") as file:
            os.fsync(file.fileno())
        waiting.replace(target)
    finally:
        waiting.unlink(missing_ok=True)


def publish_bytes(data: bytes, url: str) -> None:
    """Put a small file at `url` all at once (see `publish`)."""
    fs, path = filesystem(url)
    if not is_local(url):
        fs.pipe_file(path, data)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    waiting = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        waiting.write_bytes(data)
        waiting.replace(target)
    finally:
        waiting.unlink(missing_ok=True)


def remove(url: str) -> None:
    """Remove a file; one that isn't there is fine."""
    fs, path = filesystem(url)
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def read_bytes(url: str) -> bytes | None:
    """A small file's bytes, None if it isn't there."""
    fs, path = filesystem(url)
    try:
        return bytes(fs.cat_file(path))
    except FileNotFoundError:
        return None
