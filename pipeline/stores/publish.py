"""Makes a finished local file appear at its place all at once: one rename on a file system, one PUT on a store."""

import contextlib
import filecmp
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from maskmill.models.scratch import scratch_folder
from maskmill.pipeline.stores.errors import OutputError, store_errors
from maskmill.pipeline.stores.local_file import temporary_beside
from maskmill.pipeline.stores.put import put
from maskmill.pipeline.stores.urls import canonical, filesystem


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
        with temporary_beside(Path(path), overwrite=overwrite) as copy:
            shutil.copyfile(local, copy)
        return overwrite or filecmp.cmp(local, path, shallow=False)


def publish_bytes(data: bytes, url: str) -> None:
    """Put a small file at `url` all at once (see `publish`)."""
    fs, path = filesystem(url)
    with store_errors(url, "written"):
        if not is_local(url):
            fs.pipe_file(path, data)
            return
        with temporary_beside(Path(path)) as copy:
            copy.write_bytes(data)


def create_bytes(data: bytes, url: str) -> bool:
    """Put a small file at `url` unless one stands there (see `publish` with `overwrite` False).

    Returns:
        Whether these bytes stand there now.
    """
    with scratch_folder() as folder:
        local = folder / "file"
        local.write_bytes(data)
        if is_local(url):
            return publish(local, url, overwrite=False)
        with store_errors(url, "written", OutputError):
            return put(local, url, overwrite=False, remove_damaged=False)


def version(url: str) -> str | None:
    """A mark of the file that stands at `url`: another as soon as it is replaced. None if there is none.

    Raises:
        OutputError: its store doesn't answer.
    """
    fs, path = filesystem(url)
    with store_errors(url, "looked up"):
        fs.invalidate_cache(path)
        try:
            return str(fs.ukey(path))
        except FileNotFoundError:
            return None


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


def remove_tree(url: str) -> None:
    """Remove a file, or a folder and all that is in it; one that isn't there is fine.

    Raises:
        OutputError: something of it can't be removed.
    """
    fs, path = filesystem(url)
    with store_errors(url, "removed"):
        if not is_local(url):
            fs.invalidate_cache(path)
            with contextlib.suppress(FileNotFoundError):
                fs.rm(path, recursive=True)
            fs.invalidate_cache(path)
        # A link's target is somebody else's.
        elif Path(path).is_dir() and not Path(path).is_symlink():
            shutil.rmtree(path)
        else:
            Path(path).unlink(missing_ok=True)


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
