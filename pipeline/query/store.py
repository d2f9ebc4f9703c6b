"""An output's files in a store as DuckDB sees them: exact reads of the files that were named, and nothing else."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO, cast

from fsspec import AbstractFileSystem

from models.errors import EnvironmentFailure
from pipeline.ranged import open_ranged

PROTOCOL = "maskmill"
"""Scheme of the names that DuckDB knows stored files by; the URLs behind them stay here."""


class StoreFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Files by name, below `PROTOCOL`://; no other can be opened, none can be written.

    A driver's own files read megabytes ahead, and would fetch the masks beside the scalars that are asked for.
    """

    protocol = PROTOCOL
    cachable = False

    def __init__(self, urls: Mapping[str, str], sizes: Mapping[str, int], failures: list[Exception]) -> None:
        """Over some files.

        Args:
            urls: of each file, by the name behind the scheme.
            sizes: bytes by name, where a listing has told; it saves a request.
            failures: takes what reading ended with, which DuckDB would tell at length.
        """
        super().__init__()
        self._urls = urls
        self._sizes = dict(sizes)
        self._failures = failures

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix(f"{PROTOCOL}://")

    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> list[str]:
        """The name itself, if it is one of the files."""
        return [path] if self._strip_protocol(path) in self._urls else []

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Whether it is one of the files."""
        return self._strip_protocol(path) in self._urls

    def isfile(self, path: str) -> bool:
        """Whether it is one of the files."""
        return self.exists(path)

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """Its name and size."""
        name = self._strip_protocol(path)
        if name not in self._urls:
            raise FileNotFoundError(path)
        if name not in self._sizes:
            with self._told(), open_ranged(self._urls[name]) as file:
                self._sizes[name] = file.seek(0, 2)
        return {"name": path, "size": self._sizes[name], "type": "file"}

    def modified(self, path: str) -> datetime:
        """A fixed moment: nothing is kept between statements, so that no age of it can matter."""
        return datetime(2000, 1, 1, tzinfo=UTC)

    def open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        """One of the files, for reading alone."""
        name = self._strip_protocol(path)
        if mode != "rb" or name not in self._urls:
            raise PermissionError(f"{path}: can't be opened")
        size = self.info(path)["size"]
        return _StoredFile(lambda: open_ranged(self._urls[name], size), self._told)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except EnvironmentFailure as error:
            self._failures.append(error)
            raise


class _StoredFile:
    """An open file that tells of its failures.

    Threads of DuckDB share it, and each moves to a place and reads there in two steps: they have a position each.
    """

    def __init__(self, opened: Callable[[], BinaryIO], told: Callable[[], AbstractContextManager[None]]) -> None:
        self._opened = opened
        self._told = told
        self._mine = threading.local()

    @property
    def _file(self) -> BinaryIO:
        # Of a file in a store nothing is held open: it is a place and a size.
        if not hasattr(self._mine, "file"):
            self._mine.file = self._opened()
        return cast(BinaryIO, self._mine.file)

    def read(self, size: int = -1) -> bytes:
        with self._told():
            return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        pass
