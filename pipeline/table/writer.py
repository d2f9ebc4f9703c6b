"""Writes one label file to local scratch, in row groups of bounded memory. Publishing it is stores/publish.py's."""

import hashlib
import io
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.pipeline.table.footer import Footer
from maskmill.pipeline.table.rows import LabelRow, to_table
from maskmill.pipeline.table.schema import DICTIONARY_COLUMNS, LABELS, ROW_GROUP_BYTES

BLOCK_ROWS = 256
"""Rows that become Arrow's at once: as Python's they take ten times the memory, and a row group holds thousands."""


class LabelFileWriter(pq.ParquetWriter):  # type: ignore[misc]  # pyarrow has no types
    """A Parquet writer for rows of the label table: its columns, compression, page index and checksums.

    It computes the file's checksum from what is written, and not from what a disk gives back.
    """

    def __init__(self, path: Path) -> None:
        self._sink = _HashedFile(path)
        super().__init__(
            self._sink,
            LABELS,
            compression="zstd",
            use_dictionary=DICTIONARY_COLUMNS,
            write_page_index=True,
            write_page_checksum=True,
        )

    def close(self) -> None:
        """Write Parquet's footer and close the file."""
        try:
            super().close()
        finally:
            self._sink.close()

    @property
    def sha256(self) -> str:
        """sha256 of the whole file, in hexadecimal, once it is closed."""
        assert self._sink.closed, "the footer is written when the file is closed"
        return self._sink.sha256


class _HashedFile(io.BufferedWriter):
    """A new local file, and the sha256 of the bytes that were written to it, in their order."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "wb"))
        self._digest = hashlib.sha256()

    def write(self, data: Any, /) -> int:
        self._digest.update(data)
        return super().write(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class LabelWriter:
    """A label file in the making: rows in any order go in, row groups in shard order come out."""

    def __init__(self, path: Path, shard: str) -> None:
        self._shard = shard
        self._waiting: dict[int, LabelRow] = {}
        self._ready: list[LabelRow] = []
        self._blocks: list[pa.Table] = []
        self._ready_bytes = 0
        self._next = 0
        self._file = LabelFileWriter(path)

    def __enter__(self) -> "LabelWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, row: LabelRow) -> None:
        """Take one row; it is written once all rows before it are there."""
        assert row.sample_index >= self._next, f"row {row.sample_index} came twice"
        assert row.sample_index not in self._waiting, f"row {row.sample_index} came twice"
        self._waiting[row.sample_index] = row
        while self._next in self._waiting:
            ready = self._waiting.pop(self._next)
            self._next += 1
            self._ready.append(ready)
            self._ready_bytes += ready.bytes
            if len(self._ready) == BLOCK_ROWS:
                self._convert()
        if self._ready_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def finish(self, footer: Footer) -> None:
        """Write what is left and the footer; the file is whole once the `with` ends."""
        assert not self._waiting, f"rows {sorted(self._waiting)[:3]} wait for row {self._next}"
        assert footer.counts.read == self._next, f"{self._next} rows, but the counts say {footer.counts.read}"
        self._flush()
        self._file.add_key_value_metadata(footer.encode())

    @property
    def sha256(self) -> str:
        """sha256 of the whole file, in hexadecimal, once the `with` has ended."""
        return self._file.sha256

    def _convert(self) -> None:
        if self._ready:
            self._blocks.append(to_table(self._shard, self._ready))
            self._ready = []

    def _flush(self) -> None:
        self._convert()
        if self._blocks:
            # In blocks as they are: one piece would be a second copy of the largest thing a replica holds for a shard.
            group = pa.concat_tables(self._blocks)
            self._file.write_table(group, row_group_size=group.num_rows)
        self._blocks, self._ready_bytes = [], 0
