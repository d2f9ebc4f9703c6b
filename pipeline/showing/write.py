"""Writes a picture or a page where a user wants it, all at once. What is in it is not asked."""

from pathlib import Path

from maskmill.pipeline.stores.local_file import replacing


def write(path: Path, data: bytes) -> None:
    """Write a file; an existing one is replaced once the new one is whole, and folders are made where they lack.

    Raises:
        OutputError: the disk can't take it.
        UsageError: the place can't be written.
    """
    with replacing(path) as waiting:
        waiting.write_bytes(data)
