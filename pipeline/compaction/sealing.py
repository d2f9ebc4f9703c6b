"""Writes one file of a sealed table: rows copied from label files, read back and compared. compaction.py says which."""

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline.output import LABEL_SUFFIX, Output
from maskmill.pipeline.stores.errors import store_errors
from maskmill.pipeline.stores.publish import is_local
from maskmill.pipeline.stores.stores import download_options
from maskmill.pipeline.stores.urls import filesystem, quoted, redact
from maskmill.pipeline.table.digest import RowsDigest
from maskmill.pipeline.table.footer import Footer, FooterError, check_file
from maskmill.pipeline.table.older import current
from maskmill.pipeline.table.schema import LABELS, ROW_GROUP_BYTES
from maskmill.pipeline.table.sealed import SealedFooter, SealedShard, check_sealed
from maskmill.pipeline.table.writer import LabelFileWriter
from maskmill.pipeline.versions import versions

FETCHED_AHEAD = 8
"""Label files that are fetched from a store while one is copied."""

_ROWS_AT_ONCE = 256
_ORIGIN = ("url", "size", "etag", "bytes", "read", "started", "ended")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The done shards whose rows make one sealed file."""

    shards: pa.Table
    """Their rows of the ledger, in the order in which they go into the file."""

    fingerprint: str
    """Fingerprint of the run."""

    @property
    def rows(self) -> list[int]:
        """Rows of each shard."""
        return list(self.shards["read"].to_pylist())

    @property
    def first_rows(self) -> list[int]:
        """First row of each shard in the file."""
        return [0, *accumulate(self.rows)][: len(self.shards)]

    @property
    def origin(self) -> str:
        """Digest of what the ledger says of the label files: another as soon as one was replaced."""
        told = self.shards.select(_ORIGIN).to_pylist()
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()

    def places(self) -> tuple[SealedShard, ...]:
        """Where each shard stands in the file."""
        told = self.shards.select(["url", "size", "etag"]).to_pylist()
        return tuple(
            SealedShard(**shard, first_row=first, rows=rows)
            for shard, first, rows in zip(told, self.first_rows, self.rows, strict=True)
        )

    def stands_in(self, footer: SealedFooter) -> bool:
        """Whether a sealed file with this footer holds these very rows."""
        mine = (self.fingerprint, self.origin, self.places())
        return mine == (footer.fingerprint, footer.origin, footer.shards)


def write(part: Part, source: Output, path: Path) -> str:
    """Copy the rows of a part's label files into one local file, and compare what the file holds with what was read.

    Returns:
        sha256 of the file, in hexadecimal.

    Memory is bounded by a row group, scratch by the file and `FETCHED_AHEAD` label files.

    Raises:
        UsageError: a label file is gone, damaged, or not the one that the ledger tells of.
        EnvironmentFailure: a label file can't be fetched, or the copy doesn't hold what was written.
    """
    taken = RowsDigest()
    with LabelFileWriter(path) as writer:
        waiting: list[pa.RecordBatch] = []

        def flush() -> None:
            if waiting:
                table = pa.Table.from_batches(waiting, LABELS)
                writer.write_table(table, row_group_size=table.num_rows)
                waiting.clear()

        for batch in _source_rows(part, source, path.parent):
            taken.add(batch)
            waiting.append(batch)
            if sum(piece.nbytes for piece in waiting) >= ROW_GROUP_BYTES:
                flush()
        flush()
        footer = SealedFooter(
            fingerprint=part.fingerprint,
            shards=part.places(),
            rows_sha256=taken.hexdigest(),
            origin=part.origin,
            versions=versions(),
        )
        writer.add_key_value_metadata(footer.encode())
    try:
        same = check_sealed(path) == footer and digest_of(path) == footer.rows_sha256
    except (FooterError, pa.ArrowException, OSError, ValueError):
        same = False
    if not same:
        raise EnvironmentFailure(f"{path}: doesn't hold what was written to it. Check the disk and the memory.")
    checksum: str = writer.sha256
    return checksum


def digest_of(source: Path | BinaryIO) -> str:
    """`RowsDigest` of a local label file of any kind.

    Raises:
        ArrowException, OSError, ValueError: it is damaged.
    """
    found = RowsDigest()
    with pq.ParquetFile(source, page_checksum_verification=True) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            found.add(batch)
    return found.hexdigest()


def _source_rows(part: Part, source: Output, folder: Path) -> Iterator[pa.RecordBatch]:
    """All rows of the part's label files in order, as today's schema has them."""
    for shard, path in _fetched(part, source, folder):
        shown = redact(source.label(_name(shard)))
        fix = f"Run `maskmill verify {quoted(source.url)}`."
        try:
            footer = check_file(path)
            if (footer.fingerprint, _told(footer)) != (part.fingerprint, (shard["url"], shard["etag"], shard["read"])):
                raise UsageError(f"{shown}: not the file that the ledger tells of. {fix}")
            if shard["label_sha256"] not in (None, _sha256(path)):
                raise ValueError("its bytes aren't those that were published")
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                yield from map(current, file.iter_batches(_ROWS_AT_ONCE))
        except FileNotFoundError as error:
            raise UsageError(f"{shown}: not there any more. {fix}") from error
        except (FooterError, pa.ArrowException, OSError, ValueError) as error:
            raise UsageError(f"{shown}: damaged: {' '.join(str(error).split())[:200]}. {fix}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _told(footer: Footer) -> tuple[str, str | None, int]:
    return footer.shard, footer.etag, footer.counts.read


def _fetched(part: Part, source: Output, folder: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """Each shard and its label file on this machine: where it stands, or a copy that is removed after use."""
    shards: list[dict[str, Any]] = part.shards.select(["url", "etag", "read", "label_file", "label_sha256"]).to_pylist()
    urls = [source.label(_name(shard)) for shard in shards]
    if is_local(source.url):
        yield from ((shard, Path(filesystem(url)[1])) for shard, url in zip(shards, urls, strict=True))
        return
    with _ahead(urls, folder) as paths:
        for shard, path in zip(shards, paths, strict=True):
            try:
                yield shard, path
            finally:
                path.unlink(missing_ok=True)


@contextmanager
def _ahead(urls: Sequence[str], folder: Path) -> Iterator[Iterator[Path]]:
    """Copies of stored files, a bounded number fetched before they are asked for."""

    def fetch(number: int, url: str) -> Path:
        path = folder / f"label-{number}{LABEL_SUFFIX}"
        fs, inside = filesystem(url)
        with store_errors(url, "read", FileNotFoundError):
            fs.get_file(inside, str(path), **download_options(url))
        return path

    with ThreadPoolExecutor(FETCHED_AHEAD) as threads:

        def paths() -> Iterator[Path]:
            waiting: deque[Future[Path]] = deque()
            for number, url in enumerate(urls):
                waiting.append(threads.submit(fetch, number, url))
                if len(waiting) > FETCHED_AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        try:
            yield paths()
        finally:
            threads.shutdown(cancel_futures=True)


def _name(shard: dict[str, Any]) -> str:
    return str(shard["label_file"]).removesuffix(LABEL_SUFFIX)
