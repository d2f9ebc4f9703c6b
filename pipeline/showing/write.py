"""Writes a picture or a page where a user wants it, all at once. What is in it is not asked."""

import os
from pathlib import Path

from maskmill.models.errors import UsageError


def write(path: Path, data: bytes) -> None:
    """Write a file; an existing one is replaced once the new one is whole, and folders are made where they lack.

    Raises:
        UsageError: it cannot be written.
    """
    waiting = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        waiting.write_bytes(data)
        waiting.replace(path)
    except OSError as error:
        raise UsageError(f"--output {path}: cannot be written ({error.strerror}). Name another file.") from error
    finally:
        waiting.unlink(missing_ok=True)
