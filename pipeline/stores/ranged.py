"""A stored file that is read in ranges: Parquet's footer and columns without the rest. Whole files are publish.py's."""

import hashlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from maskmill.models.errors import EnvironmentFailure
from maskmill.pipeline.stores.errors import OutputError, store_errors
from maskmill.pipeline.stores.publish import is_local
from maskmill.pipeline.stores.urls import filesystem, redact


def open_ranged(url: str, size: int | None = None) -> BinaryIO:
    """A file of which each read is one request for just these bytes; a local file is opened as it is.

    Args:
        url: its place.
        size: bytes, where a listing has told already; it saves a request.

    Raises:
        FileNotFoundError: it isn't there.
        OutputError: it can't be read; also raised by every read.
    """
    if is_local(url):
        with store_errors(url, "read", FileNotFoundError):
            return Path(filesystem(url)[1]).open("rb")
    # RawIOBase has all of BinaryIO's methods that reading takes.
    return cast(BinaryIO, _StoredFile(url, size))


_PIECE = 8 * 2**20


@contextmanager
def open_whole(url: str, size: int | None = None) -> Iterator[tuple[BinaryIO, str]]:
    """A file that is read as a whole, and its sha256 in hexadecimal.

    A stored one is fetched once, into a temporary file without a name, which no kill leaves behind.

    Raises:
        FileNotFoundError, OutputError: as `open_ranged`.
        EnvironmentFailure: the system's temporary folder can't be written.
    """
    digest = hashlib.sha256()
    if is_local(url):
        with open_ranged(url) as source:
            while piece := source.read(_PIECE):
                digest.update(piece)
            source.seek(0)
            yield source, digest.hexdigest()
        return
    with open_ranged(url, size) as source, tempfile.TemporaryFile() as copy:
        while piece := source.read(_PIECE):
            digest.update(piece)
            try:
                copy.write(piece)
                copy.flush()
            except OSError as error:
                raise EnvironmentFailure(
                    f"{tempfile.gettempdir()}: {error.strerror or error}. Free space, or name another folder in TMPDIR."
                ) from error
        copy.seek(0)
        yield cast(BinaryIO, copy), digest.hexdigest()


class _StoredFile(io.RawIOBase):
    """Nothing is read ahead: fsspec's own files fetch megabytes around a footer."""

    def __init__(self, url: str, size: int | None) -> None:
        self._url = url
        self._fs, self._path = filesystem(url)
        self._at = 0
        if size is None:
            with store_errors(url, "read", FileNotFoundError):
                size = int(self._fs.size(self._path))
        self._size = size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        with store_errors(self._url, "read", FileNotFoundError):
            data = self._fs.cat_file(self._path, start=self._at, end=stop)
        # A body that ends early passes drivers in silence, and would read as damage.
        if len(data) != stop - self._at:
            raise OutputError(f"{redact(self._url)} can't be read: {len(data):,} of {stop - self._at:,} bytes arrived.")
        buffer[: len(data)] = data
        self._at = stop
        return len(data)
