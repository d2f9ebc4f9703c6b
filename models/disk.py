"""A disk that is full, or fails: one line that names the place, exit code 3."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskmill.models.errors import EnvironmentFailure

_DISK_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS))

_REFUSED = ("No space left", "File too large", "os error", "failed writing file", "unexpected pos")
"""What torch and safetensors say of a disk that takes no more."""


@contextmanager
def disk_errors(place: Path | str) -> Iterator[None]:
    """A disk that is full, or fails, leaves as one line that names the place; other errors pass.

    Raises:
        EnvironmentFailure: it is.
    """
    try:
        yield
    except Exception as error:
        if not is_of_disk(error):
            raise
        said = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise EnvironmentFailure(
            f"{place}: can't be written ({said}). Make room there, or name another place."
        ) from error


def is_of_disk(error: Exception) -> bool:
    """Whether an error says that a disk is full, or fails."""
    if isinstance(error, OSError):
        return error.errno in _DISK_ERRORS or "No usable temporary directory" in str(error)
    # torch and safetensors raise errors of their own for what the system refuses.
    return type(error).__name__ in ("SafetensorError", "RuntimeError") and any(map(str(error).__contains__, _REFUSED))
