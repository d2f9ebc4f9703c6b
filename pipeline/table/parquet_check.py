"""Compares Parquet's own metadata of a label file (schema, offsets, statistics, page index) with its rows.

Readers answer from this metadata without looking at rows, and Parquet has no checksum over it. A file whose bytes have
the checksum that the ledger recorded needs none of this. Source of all fields: parquet.thrift of Apache Parquet.
"""

import re
import struct
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.pipeline.table.footer import parquet_facts, stated
from maskmill.pipeline.table.schema import FOOTER_KEY
from maskmill.pipeline.table.thrift import I16, I32, I64, Struct, decode_struct

_FILE = {1: I32, 2: list, 3: I64, 4: list, 5: list, 6: bytes, 7: list}
_GROUP = {1: list, 2: I64, 3: I64, 5: I64, 6: I64, 7: I16}
_CHUNK = {2: I64, 3: dict, 4: I64, 5: I32, 6: I64, 7: I32}
_COLUMN = {1: I32, 2: list, 3: list, 4: I32, 5: I64, 6: I64, 7: I64, 9: I64, 11: I64, 12: dict, 13: list, 16: dict}
_PAGE = {1: I32, 2: I32, 3: I32, 4: I32, 5: dict, 7: dict}
_DATA = {1: I32, 2: I32, 3: I32, 4: I32, 5: dict}
_DICTIONARY = {1: I32, 2: I32, 3: bool}
"""Fields that FileMetaData, RowGroup, ColumnChunk, ColumnMetaData, PageHeader, DataPageHeader and DictionaryPageHeader
may have, and their types. What else there is in parquet.thrift, such as bloom filters, encryption and the name of
another file, label files don't have."""

_ZSTD, _RLE = I32(6), I32(3)
_TYPE_ORDER: Struct = {1: {}}
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_UNORDERED, _ASCENDING, _DESCENDING = 0, 1, 2
_MAGIC = 4
_ARROW_SCHEMA = b"ARROW:schema"
_WRITER = re.compile(rb"parquet-cpp-arrow version \d+\.\d+\.\d+(-SNAPSHOT)?")
_NUMBERS = {1: "<i", 2: "<q", 4: "<f", 5: "<d"}
"""Physical type -> how its least and greatest value are stored; those of byte arrays are compared as they are."""


class _DifferenceError(ValueError):
    """Metadata that isn't what the rows make it; the text says what, in one line."""


def check_parquet(source: BinaryIO) -> str | None:
    """What of a label file's Parquet metadata differs from its rows: the first difference, in one line; None: nothing.

    Every row group is read, and its columns are written again into memory, by the group and by the page. Memory is
    three row groups.

    Args:
        source: a label file, open or sealed; local.

    Raises:
        FooterError: it isn't one.
        ArrowException, OSError: the rows can't be read.
    """
    schema, _ = stated(parquet_facts(source)[2])
    try:
        footer = _footer(source)
        _check_fields("the file", footer, _FILE)
        _check_schema(footer, schema)
        source.seek(0)
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            groups = footer.get(4, [])
            at = _MAGIC
            for number in range(file.num_row_groups):
                rows = file.read_row_group(number)
                at = _RowGroup(source, rows, f"row group {number}").check(groups[number], at)
            _same("number of rows", footer.get(3), sum(group[3] for group in groups))
            _same("number of row groups", len(groups), file.num_row_groups)
    except _DifferenceError as error:
        return str(error)
    except (ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        return f"Parquet's metadata is damaged ({type(error).__name__})"
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Page:
    """One page, from its header."""

    offset: int
    """Where its header begins in the file."""

    header: Struct
    """PageHeader."""

    length: int
    """Bytes of header and data."""

    uncompressed: int
    """Bytes of the header and of the data once decompressed."""

    @property
    def is_dictionary(self) -> bool:
        return bool(self.header[1] == _DICTIONARY_PAGE)

    @property
    def fields(self) -> Struct:
        """DataPageHeader or DictionaryPageHeader."""
        fields: Struct = self.header[7 if self.is_dictionary else 5]
        return fields


@dataclass(slots=True)
class _RowGroup:
    """The rows of one row group, and what Arrow writes of them."""

    source: BinaryIO
    rows: pa.Table
    where: str
    _columns: dict[tuple[str, int, int], dict[tuple[bytes, ...], Struct]] = field(default_factory=dict)

    def check(self, group: Struct, at: int) -> int:
        """Compare a RowGroup, whose first byte is at `at`; where the next one begins.

        Raises:
            _DifferenceError, ValueError, LookupError, TypeError: something differs, or is no metadata.
        """
        _check_fields(self.where, group, _GROUP)
        leaves = list(self._made("", 0, len(self.rows)))
        _same(f"{self.where}: rows", group[3], len(self.rows))
        _same(f"{self.where}: columns", [tuple(chunk[3][3]) for chunk in group[1]], leaves)
        start = at
        for chunk in group[1]:
            at = self._check_chunk(chunk, at)
        metadata = [chunk[3] for chunk in group[1]]
        _same(f"{self.where}: offset", group.get(5, start), start)
        _same(f"{self.where}: bytes", group[2], sum(column[6] for column in metadata))
        _same(f"{self.where}: compressed bytes", group.get(6, at - start), at - start)
        return at

    def _check_chunk(self, chunk: Struct, at: int) -> int:
        column: Struct = chunk[3]
        path = tuple(column[3])
        where = f"{self.where}, column {b'.'.join(path).decode(errors='replace')}"
        made = self._made(path[0].decode(), 0, len(self.rows))[path]
        _check_fields(where, chunk, _CHUNK)
        _check_fields(where, column, _COLUMN)
        for name, number in (("type", 1), ("number of values", 5)):
            _same(f"{where}: {name}", column[number], made[number])
        for name, number in (("statistics", 12), ("level histograms", 16)):
            _same_where_stated(f"{where}: {name}", column.get(number, {}), made.get(number, {}))
        _same(f"{where}: compression", column[4], _ZSTD)
        _same(f"{where}: offset in the file", chunk.get(2, 0), 0)
        pages = list(_pages(self.source, at, column[7]))
        _check_layout(where, column, pages)
        self._check_index(where, chunk, made, [page for page in pages if not page.is_dictionary])
        return at + int(column[7])

    def _check_index(self, where: str, chunk: Struct, made: Struct, pages: Sequence[_Page]) -> None:
        """Compare a chunk's OffsetIndex and ColumnIndex with its pages."""
        if 4 not in chunk:
            _same(f"{where}: page index", 6 in chunk, False)
            return
        places = _decoded(self.source, chunk[4], chunk[5])
        firsts = [place[3] for place in places[1]]
        found = [
            {1: I64(page.offset), 2: I32(page.length), 3: I64(first)} for page, first in zip(pages, firsts, strict=True)
        ]
        _same(f"{where}: page places", places[1], found)
        path = tuple(made[3])
        ends = [*firsts[1:], len(self.rows)]
        _same(f"{where}: first rows of pages", (firsts[:1], firsts), ([0], sorted(set(firsts))))
        ours = [self._made(path[0].decode(), *rows)[path] for rows in zip(firsts, ends, strict=True)]
        _same(f"{where}: values of pages", [int(page.fields[1]) for page in pages], [int(page[5]) for page in ours])
        lengths = [page.get(16, {}).get(1) for page in ours]
        _same_where_stated(f"{where}: page places", places, {1: places[1], 2: lengths})
        if 6 in chunk:
            index = _decoded(self.source, chunk[6], chunk[7])
            _same_where_stated(f"{where}: page index", index, _column_index(ours, index.get(4, _UNORDERED)))

    def _made(self, name: str, first: int, end: int) -> dict[tuple[bytes, ...], Struct]:
        """ColumnMetaData of leaves, those of a column at least, as Arrow writes it for some of the rows."""
        whole = (first, end) == (0, len(self.rows))
        key = ("" if whole else name, first, end)
        if key not in self._columns:
            rows = self.rows if whole else self.rows.select([name]).slice(first, end - first)
            footer = _written(rows)
            self._columns[key] = {tuple(chunk[3][3]): chunk[3] for chunk in footer[4][0][1]}
        return self._columns[key]


def _check_schema(footer: Struct, schema: pa.Schema) -> None:
    """Compare Parquet's columns, and Arrow's copy of them, which Arrow and Polars go by."""
    made = _written(schema.empty_table())
    _same("schema", footer.get(2), made[2])
    _same("orders of columns", footer.get(7), [_TYPE_ORDER] * len(made[7]))
    stored, ours = ({pair[1]: pair.get(2) for pair in found[5]} for found in (footer, made))
    _same("keys", stored.keys(), {_ARROW_SCHEMA, FOOTER_KEY})
    # Readers take it for UTF-8, and go by it where old writers had faults.
    _same("writer", _WRITER.fullmatch(footer.get(6, b"")) is not None, True)
    if footer.get(6) == made[6]:
        _same("Arrow schema", stored[_ARROW_SCHEMA], ours[_ARROW_SCHEMA])
    else:
        # Another version of Arrow may write the same schema in other bytes.
        found = pa.ipc.read_schema(pa.py_buffer(b64decode(stored[_ARROW_SCHEMA], validate=True)))
        _same("Arrow schema", found.equals(schema, check_metadata=True), True)


def _check_layout(where: str, column: Struct, pages: Sequence[_Page]) -> None:
    """Compare what ColumnMetaData says of its pages with the pages."""
    data = [page for page in pages if not page.is_dictionary]
    for page in pages:
        _check_fields(f"{where}: page", page.header, _PAGE)
        _check_fields(f"{where}: page", page.fields, _DICTIONARY if page.is_dictionary else _DATA)
        if not page.is_dictionary:
            _same(f"{where}: encodings of levels", (page.fields[3], page.fields[4]), (_RLE, _RLE))
    _same(f"{where}: offset of data", column[9], data[0].offset)
    _same(f"{where}: offset of the dictionary", column.get(11), pages[0].offset if pages[0].is_dictionary else None)
    _same(f"{where}: bytes", column[6], sum(page.uncompressed for page in pages))
    _same(f"{where}: encodings", set(column[2]), {_RLE, *(page.fields[2] for page in pages)})
    kinds = sorted((page.header[1], page.fields[2]) for page in pages)
    stated = sorted((entry[1], entry[2]) for entry in column.get(13, ()) for _ in range(entry[3]))
    _same(f"{where}: kinds of pages", stated, kinds if 13 in column else [])


def _column_index(pages: Sequence[Struct], order: int) -> Struct:
    """The ColumnIndex of pages whose ColumnMetaData are these; `order` is kept where it holds."""
    statistics = [page.get(12, {}) for page in pages]
    nulls = [page[5] == found.get(3) for page, found in zip(pages, statistics, strict=True)]
    least, greatest = ([found.get(number, b"") for found in statistics] for number in (6, 5))
    bounds = [
        [_number(page[1], value) for page, value, null in zip(pages, values, nulls, strict=True) if not null]
        for values in (least, greatest)
    ]
    orders = {_UNORDERED}
    if all(values == sorted(values) for values in bounds):
        orders.add(_ASCENDING)
    if all(values == sorted(values, reverse=True) for values in bounds):
        orders.add(_DESCENDING)
    sizes = [page.get(16, {}) for page in pages]
    return {
        1: nulls,
        2: least,
        3: greatest,
        4: I32(order) if order in orders else orders,
        5: [found.get(3) for found in statistics],
        6: [count for size in sizes for count in size.get(2, ())],
        7: [count for size in sizes for count in size.get(3, ())],
    }


def _number(kind: int, value: bytes) -> Any:
    return struct.unpack(_NUMBERS[kind], value)[0] if kind in _NUMBERS else value


def _pages(source: BinaryIO, at: int, length: int) -> Iterator[_Page]:
    """The pages of a column chunk."""
    source.seek(at)
    data = source.read(length)
    place = 0
    while place < len(data):
        header, end = decode_struct(data, place)
        if header[1] not in (_DATA_PAGE, _DICTIONARY_PAGE) or min(header[2], header[3]) < 0:
            raise _DifferenceError(f"a page at byte {at + place} that isn't one of ours")
        size = end - place
        yield _Page(offset=at + place, header=header, length=size + header[3], uncompressed=size + header[2])
        place = end + header[3]
    _same(f"pages at byte {at}", place, length)


def _footer(source: BinaryIO) -> Struct:
    """FileMetaData."""
    source.seek(-8, 2)
    end = source.tell()
    length = int.from_bytes(source.read(4), "little")
    return _decoded(source, end - length, length)


def _decoded(source: BinaryIO, offset: int, length: int) -> Struct:
    source.seek(offset)
    fields, end = decode_struct(source.read(length))
    _same(f"metadata at byte {offset}", end, length)
    return fields


def _written(rows: pa.Table) -> Struct:
    """FileMetaData as Arrow writes it for some rows in one row group."""
    file = BytesIO()
    pq.write_table(rows, file, row_group_size=max(rows.num_rows, 1), compression="none", use_dictionary=False)
    return _footer(file)


def _check_fields(where: str, found: Struct, types: dict[int, type]) -> None:
    _same(f"{where}: fields", {n: type(value) for n, value in found.items()}, {n: types.get(n) for n in found})


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise _DifferenceError(f"{what} in Parquet's metadata isn't what the rows make it")


def _same_where_stated(what: str, found: Struct, expected: Struct) -> None:
    """Compare the fields that the file has: an older Arrow writes fewer."""
    _same(what, found, {number: expected.get(number) for number in found})
