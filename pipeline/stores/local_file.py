"""Local files that appear under their name whole or not at all, and one line that names a disk that can't take them."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maskmill.models.disk import disk_errors
from maskmill.models.errors import UsageError
from maskmill.pipeline.stores.leftovers import held_copy
from maskmill.pipeline.stores.urls import redact

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)
"""What file systems without hard links answer (FAT, some that are mounted over a network or from a store)."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, for the caller to write; it takes the name when the block ends well.

    An existing file stays until then, and stays if the block fails. Folders are made where they lack. After a kill the
    temporary file is left; `leftovers.remove_leftovers` of the folder removes it.

    Args:
        path: the file's name at last.

    Raises:
        EnvironmentFailure, UsageError: see `writing`.
    """
    with writing(path), temporary_beside(path) as copy:
        yield copy


@contextmanager
def temporary_beside(target: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """As `replacing`, with the system's own errors, and without `overwrite` a file that stands there stays.

    Beside it, so that the rename never crosses file systems. The lock on it is the file's own: a writer that puts
    another file in its place, as safetensors does, leaves one that others take for left behind.

    Raises:
        OSError: it can't be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with held_copy(target.parent) as copy:
        yield copy
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        if overwrite:
            copy.replace(target)
        else:
            _link(copy, target)
        _sync_folder(target.parent)


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
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def writing(place: Path | str) -> Iterator[None]:
    """Failures to write leave as one line that names the place.

    Raises:
        EnvironmentFailure: the disk is full, or fails.
        UsageError: the place is one that nobody could write: a folder, below a file, without permission.
    """
    try:
        with disk_errors(place):
            yield
    except OSError as error:
        raise UsageError(f"{redact(str(place))}: can't be written ({error.strerror}). Name another.") from error
