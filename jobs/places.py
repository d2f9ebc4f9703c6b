"""What options that name places may name: a file whose suffix says its format, a folder to write, one for scratch."""

import posixpath
from collections.abc import Collection
from pathlib import Path

from maskmill.models.errors import UsageError

_FILES = frozenset({
    ".arrow", ".bin", ".ckpt", ".csv", ".db", ".feather", ".gif", ".gz", ".htm", ".html", ".jpeg", ".jpg", ".json",
    ".jsonl", ".md", ".npy", ".npz", ".parquet", ".pdf", ".png", ".pt", ".pth", ".safetensors", ".svg", ".tar",
    ".tsv", ".txt", ".webp", ".xlsx", ".yaml", ".yml", ".zip",
})  # fmt: skip
"""Suffixes that nobody gives a folder on purpose."""


def suffix_of(url: str) -> str:
    """The suffix of a path or URL in lower case, with its dot; empty where there is none."""
    from maskmill.models.redaction import redact_url

    return posixpath.splitext(posixpath.basename(redact_url(url)))[1].lower()


def check_file(option: str, url: str, suffixes: Collection[str]) -> None:
    """Refuse a file whose suffix says another format than it will have.

    Args:
        option: for the error.
        url: a path or any fsspec URL.
        suffixes: those of the format, with their dots, the usual one first.

    Raises:
        UsageError: it has another, or none.
    """
    if suffix_of(url) not in suffixes:
        stem = posixpath.splitext(posixpath.basename(url))[0] or "file"
        raise UsageError(f"{option} {_shown(url)}: expected a name that ends with {', '.join(suffixes)}, "
                         f"such as {stem}{next(iter(suffixes))}.")  # fmt: skip


def check_folder(option: str, url: str) -> None:
    """Refuse a place that can't be a folder to write into, and a new one that is named like a file.

    Args:
        option: for the error.
        url: a path or any fsspec URL; one that ends with a slash is a folder, whatever its suffix.

    Raises:
        UsageError: either.
    """
    from maskmill.pipeline.stores.publish import is_local
    from maskmill.pipeline.stores.urls import canonical

    if not url:
        raise UsageError(f"{option} '': expected a folder. Name one.")
    if is_local(url):
        place = Path(canonical(url))
        there = next((one for one in (place, *place.parents) if one.exists()), place)
        if there.exists() and not there.is_dir():
            raise UsageError(f"{option} {_shown(url)}: {there.name!r} is a file, expected a folder. Name another.")
        if place.is_dir():
            return
    if suffix_of(url) in _FILES:
        raise UsageError(
            f"{option} {_shown(url)}: named like a file, and a folder will be written. Leave {suffix_of(url)} out, "
            "or end it with a slash."
        )


def scratch_of(folder: Path | None) -> Path:
    """The local folder for what is under way: the one named, else the system's.

    Raises:
        UsageError: it isn't there.
    """
    import tempfile

    if folder is not None and not folder.is_dir():
        raise UsageError(f"--scratch {str(folder)!r}: no such folder. Make it, or name another.")
    return folder or Path(tempfile.gettempdir())


def _shown(url: str) -> str:
    from maskmill.models.redaction import redact_url

    return repr(redact_url(url))
