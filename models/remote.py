"""How a URL becomes a file system: fsspec, with options that whoever starts the process may set. Reads nothing."""

from collections.abc import Callable, Mapping
from typing import Any

Options = Callable[[str], Mapping[str, Any]]
"""URL -> keyword arguments of its fsspec driver."""


def _none(_: str) -> Mapping[str, Any]:
    return {}


_options: Options = _none


def use(options: Options) -> None:
    """Open every URL of this process with these options from now on; models know no stores, so a caller says."""
    global _options  # noqa: PLW0603 (what a process may read is the process's own, as its environment is)
    _options = options


def options(url: str) -> Mapping[str, Any]:
    """The driver's keyword arguments for a URL."""
    return _options(url)


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL or path, and the path inside it.

    Raises:
        ValueError, ImportError: as fsspec does, of an unknown scheme and of a driver that isn't installed.
    """
    from fsspec.core import url_to_fs

    found: tuple[Any, str] = url_to_fs(url, **options(url))
    return found
