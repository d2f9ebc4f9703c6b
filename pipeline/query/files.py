"""Parquet files as DuckDB sees them: a pyarrow dataset, which only reads, and of which only some columns are fetched.

DuckDB's own reader isn't used: a path that DuckDB may read it may write too, of a nested column in a store it fetches
all that follows in the row group too, the masks, and its threads share a Python file's position.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.dataset as ds
from fsspec import AbstractFileSystem
from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem

from maskmill.models.errors import EnvironmentFailure
from maskmill.pipeline.stores.publish import is_local
from maskmill.pipeline.stores.ranged import open_ranged
from maskmill.pipeline.stores.urls import filesystem

REQUESTS = 16
"""Requests in flight."""


def rows_of(
    urls: Sequence[str], schema: pa.Schema, sizes: Mapping[str, int], failures: list[Exception]
) -> ds.FileSystemDataset:
    """The rows of some files in their order, fields found by name and null where a file has none.

    Args:
        urls: the files; no other is opened.
        schema: their columns.
        sizes: bytes by URL, where a listing has told; it saves a request.
        failures: takes what reading ended with, which DuckDB would tell at length.
    """
    pa.set_io_thread_count(REQUESTS)
    local = all(map(is_local, urls))
    fs = LocalFileSystem() if local else PyFileSystem(FSSpecHandler(_StoredFiles(urls, sizes, failures)))
    places = [str(filesystem(url)[1]) for url in urls] if local else urls
    options = ds.ParquetFragmentScanOptions(pre_buffer=True, page_checksum_verification=True)
    form = ds.ParquetFileFormat(default_fragment_scan_options=options)
    return ds.FileSystemDataset([form.make_fragment(place, filesystem=fs) for place in places], schema, form, fs)


class _StoredFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Some files by their URL, for reading alone, each read one request: a driver's own files read megabytes ahead."""

    protocol = "maskmill"
    cachable = False

    def __init__(self, urls: Sequence[str], sizes: Mapping[str, int], failures: list[Exception]) -> None:
        super().__init__()
        self._urls = frozenset(urls)
        self._sizes = dict(sizes)
        self._failures = failures

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path

    def isfile(self, path: str) -> bool:
        """Whether it is one of the files."""
        return path in self._urls

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """Its name and size."""
        if path not in self._urls:
            raise FileNotFoundError(path)
        if path not in self._sizes:
            with self._told(), open_ranged(path) as file:
                self._sizes[path] = file.seek(0, 2)
        return {"name": path, "size": self._sizes[path], "type": "file"}

    def open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        """One of the files."""
        if mode != "rb" or path not in self._urls:
            raise PermissionError(path)
        size = self.info(path)["size"]
        with self._told():
            return _StoredFile(open_ranged(path, size), self._told)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except EnvironmentFailure as error:
            self._failures.append(error)
            raise


class _StoredFile:
    """An open file that tells of its failures. Arrow moves and reads in one step, whatever its threads do."""

    def __init__(self, file: BinaryIO, told: Callable[[], AbstractContextManager[None]]) -> None:
        self._file = file
        self._told = told
        self.seek, self.tell, self.close = file.seek, file.tell, file.close
        self.readable, self.seekable, self.writable = file.readable, file.seekable, file.writable

    @property
    def closed(self) -> bool:
        return self._file.closed

    def read(self, size: int = -1) -> bytes:
        with self._told():
            return self._file.read(size)
