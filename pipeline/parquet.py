"""Small Parquet tables below OUT (ledger, manifest, vocabulary), in memory as a whole. Label files are table/'s."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.models.errors import UsageError
from maskmill.pipeline.stores.publish import publish_bytes, read_bytes
from maskmill.pipeline.stores.ranged import open_ranged
from maskmill.pipeline.stores.urls import redact


def write(table: pa.Table, url: str) -> None:
    """Publish a table as one file.

    Raises:
        OutputError: the place can't be written.
    """
    file = BytesIO()
    pq.write_table(table, file, compression="zstd", write_page_checksum=True)
    publish_bytes(file.getvalue(), url)


def read(url: str, schema: pa.Schema, *, fix: str) -> pa.Table | None:
    """A published table; None where there is no file.

    Args:
        url: its place.
        schema: the columns it must have.
        fix: what to do with a damaged one, a sentence for the error.

    Raises:
        UsageError: it is no Parquet file, or has other columns.
        OutputError: it can't be read.
    """
    data = read_bytes(url)
    if data is None:
        return None
    with damage(url, fix):
        table = pq.ParquetFile(BytesIO(data), page_checksum_verification=True).read()
    _check(table.schema, schema, url, fix)
    return _filled(table, schema)


def read_columns(url: str, schema: pa.Schema, columns: Sequence[str], *, fix: str) -> pa.Table | None:
    """Some columns of a published table, and of the file no more bytes than they take (see `read`)."""
    with opened(url, schema, fix=fix) as file:
        if file is None:
            return None
        with damage(url, fix):
            table = file.read(columns=[name for name in columns if name in file.schema_arrow.names])
        return _filled(table, pa.schema([schema.field(name) for name in columns]))


@contextmanager
def opened(url: str, schema: pa.Schema, *, fix: str) -> Iterator[pq.ParquetFile | None]:
    """A published table, read in ranges while the `with` lasts (see `read`); it may lack the last columns.

    What reads its rows does so inside `damage`.
    """
    try:
        source = open_ranged(url)
    except FileNotFoundError:
        yield None
        return
    with source:
        with damage(url, fix):
            # Buffered by column chunk, so that a request asks for many pages.
            file = pq.ParquetFile(source, pre_buffer=True, page_checksum_verification=True)
        _check(file.schema_arrow, schema, url, fix)
        yield file


def _check(found: pa.Schema, schema: pa.Schema, url: str, fix: str) -> None:
    """Columns that may be null and stand at the end came later; an older file lacks them."""
    known, later = list(schema)[: len(found)], list(schema)[len(found) :]
    if not found.equals(pa.schema(known)) or not all(field.nullable for field in later):
        raise UsageError(f"{redact(url)}: its columns aren't those that this maskmill writes. {fix}")


def _filled(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with all columns of the schema, in its order: null where the file has none."""
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(schema.names)


@contextmanager
def damage(url: str, fix: str) -> Iterator[None]:
    """Turns what PyArrow says of a file that can't be read, or that was removed meanwhile, into one line.

    Raises:
        UsageError: it can't.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UsageError(f"{redact(url)}: damaged ({type(error).__name__}). {fix}") from error
