"""Small Parquet tables below OUT (ledger, manifest, vocabulary), in memory as a whole. Label files are table/'s."""

from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import UsageError
from pipeline.publish import publish_bytes, read_bytes
from pipeline.urls import redact


def write(table: pa.Table, url: str) -> None:
    """Publish a table as one file.

    Raises:
        OutputError: the place can't be written.
    """
    file = BytesIO()
    pq.write_table(table, file, compression="zstd")
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
    try:
        table = pq.ParquetFile(BytesIO(data), page_checksum_verification=True).read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UsageError(f"{redact(url)}: damaged ({type(error).__name__}). {fix}") from error
    if not table.schema.equals(schema):
        raise UsageError(f"{redact(url)}: its columns aren't those that this maskmill writes. {fix}")
    return table
