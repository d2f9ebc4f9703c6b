"""Makes a finished local file appear at its place all at once: one rename on a file system, one PUT on a store."""

import contextlib
import errno
import filecmp
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from maskmill.pipeline.stores.errors import OutputError, store_errors
from maskmill.pipeline.stores.put import put
from maskmill.pipeline.stores.urls import canonical, filesystem

LEFT_SECONDS = 3600.0
"""Age from which a copy that never reached its place was left by a process that was killed."""

_COPY = re.compile(r"\.[0-9a-f]{32}\.tmp")

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)
"""What file systems without hard links answer (FAT, some that are mounted over a network or from a store)."""


def is_local(url: str) -> bool:
    """Whether a URL names a place on this machine's file systems."""
    return canonical(url).startswith("/")


def publish(local: Path, url: str, *, overwrite: bool = True) -> bool:
    """Put a whole local file at `url`; a reader sees the old file or the new one, never a part.

    With `overwrite` False nothing that stands there is replaced, also when two processes publish at once: one link on a
    file system, one conditional PUT in a store (see `pipeline.stores.put.put` for those that have none).

    Returns:
        Whether these bytes stand there now; False if others did already and `overwrite` is False.

    Raises:
        OutputError: the place can't be written.
    """
    _, path = filesystem(url)
    with store_errors(url, "written", OutputError):
        if not is_local(url):
            return put(local, url, overwrite=overwrite)
        with _waiting(Path(path), overwrite=overwrite) as copy:
            shutil.copyfile(local, copy)
        return overwrite or filecmp.cmp(local, path, shallow=False)


def publish_bytes(data: bytes, url: str) -> None:
    """Put a small file at `url` all at once (see `publish`)."""
    fs, path = filesystem(url)
    with store_errors(url, "written"):
        if not is_local(url):
            fs.pipe_file(path, data)
            return
        with _waiting(Path(path)) as copy:
            copy.write_bytes(data)


def remove(url: str) -> None:
    """Remove a file; one that isn't there is fine.

    Raises:
        OutputError: it can't be removed.
    """
    fs, path = filesystem(url)
    with store_errors(url, "removed"), contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def remove_all(urls: Sequence[str]) -> None:
    """Remove files, several at a time (see `remove`)."""
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(remove, urls))


def remove_folder(url: str) -> None:
    """Remove a folder that has become empty; stores have none, and one that isn't empty stays."""
    if is_local(url):
        with contextlib.suppress(OSError):
            Path(filesystem(url)[1]).rmdir()


def read_bytes(url: str) -> bytes | None:
    """A small file's bytes, None if it isn't there.

    Raises:
        OutputError: it can't be read.
    """
    fs, path = filesystem(url)
    with store_errors(url, "read"):
        try:
            return bytes(fs.cat_file(path))
        except FileNotFoundError:
            return None


def names(url: str, *, hidden: bool = False) -> list[str]:
    """Names of what stands in a folder, hidden files left out unless asked for; none if the folder isn't there.

    Raises:
        OutputError: it can't be listed.
    """
    return [name for name, _ in listing(url, hidden=hidden)]


def listing(url: str, *, hidden: bool = False) -> Iterator[tuple[str, int | None]]:
    """Names of what stands in a folder (see `names`), each with its size where the listing tells it for nothing."""
    fs, path = filesystem(url)
    with store_errors(url, "listed"):
        try:
            if is_local(url):
                with os.scandir(path) as entries:
                    found = [(entry.name, None) for entry in entries]
            else:
                # A fresh listing, and none that stays: a client remembers what it listed, a kilobyte an object.
                fs.invalidate_cache(path)
                found = [(str(entry["name"]), entry.get("size")) for entry in fs.ls(path, detail=True)]
                fs.invalidate_cache(path)
        except FileNotFoundError:
            return
    for entry, size in found:
        name = entry.rstrip("/").rsplit("/", 1)[-1]
        if name and (hidden or not name.startswith(".")):
            yield name, size


def leftovers(url: str) -> list[Path]:
    """Copies on their way to a place in a local folder, or left by a process that was killed; a store has none."""
    if not is_local(url):
        return []
    with contextlib.suppress(FileNotFoundError), os.scandir(filesystem(url)[1]) as entries:
        return [Path(entry.path) for entry in entries if _COPY.fullmatch(entry.name)]
    return []


def remove_leftovers(url: str) -> None:
    """Remove copies in a local folder that nobody has written to for `LEFT_SECONDS`; a younger one may be under way."""
    for copy in leftovers(url):
        # Whatever it is that can't be removed, it harms nobody where it is.
        with contextlib.suppress(OSError):
            if time.time() - copy.stat().st_mtime > LEFT_SECONDS:
                copy.unlink()


@contextlib.contextmanager
def _waiting(target: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """A path beside `target`, so that the rename never crosses file systems; no reader's glob takes its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Short, whatever the target's name: a file system may cut names at 255 bytes.
    copy = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield copy
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        if overwrite:
            copy.replace(target)
        else:
            _link(copy, target)
        _sync_folder(target.parent)
    finally:
        copy.unlink(missing_ok=True)


def _link(copy: Path, target: Path) -> None:
    """Give a whole file its second name; one that stands there stays."""
    try:
        os.link(copy, target)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Between the look and the rename another's whole file may appear; a whole one of ours then replaces it.
        if not target.exists():
            copy.replace(target)


def _sync_folder(folder: Path) -> None:
    """Names survive a power cut from here on, as far as the file system keeps its word."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
