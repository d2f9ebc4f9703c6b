"""Local files that appear under their name whole or not at all, and one line that names a disk that can't take them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maskmill.models.disk import disk_errors
from maskmill.models.errors import UsageError
from maskmill.pipeline.stores.urls import redact


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """A temporary path beside `path`, for the caller to write; the file takes its name when the block ends well.

    An existing file stays until then, and stays if the block fails. Folders are made where they lack.

    Args:
        path: the file's name at last.
        suffix: end of the temporary name, for writers that look at it.

    Raises:
        EnvironmentFailure, UsageError: see `writing`.
    """
    waiting = path.with_name(f".{os.getpid()}.{path.name[-80:]}.tmp{suffix}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield waiting
            with waiting.open("rb") as file:
                os.fsync(file.fileno())
            waiting.replace(path)
    finally:
        with suppress(OSError):
            waiting.unlink(missing_ok=True)


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
