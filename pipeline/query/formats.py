"""An answer as an aligned table, JSON, CSV or Parquet. Where it comes from is session.py's."""

import base64
import csv
import datetime
import decimal
import io
import itertools
import json
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.models.errors import UsageError
from maskmill.pipeline.terminal import escaped, escaped_json

CELL_WIDTH = 60
"""Characters of one value in a printed table; longer ones are cut and end in an ellipsis."""

TABLE_ROWS = 1000
"""Rows of a printed table, whose columns are aligned only once all rows are known; JSON and CSV have every row."""

LINE_WIDTH = 160
"""Columns of a printed line as far as cutting texts can keep to it; numbers are never cut."""

LEAST_WIDTH = 12
"""No text is cut shorter than this for `LINE_WIDTH`."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Beginnings of texts that spreadsheets take for formulas (OWASP: CSV injection)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The result of one statement; rows are computed as they are taken."""

    columns: tuple[str, ...]
    """Names of the columns."""

    rows: Iterator[tuple[Any, ...]]
    """Values in the order of the columns: Python's own types, lists, and dicts for structs."""

    schema: pa.Schema
    """The columns' types."""

    batches: Iterator[pa.RecordBatch]
    """The rows as Arrow has them; `rows` or these are taken."""

    incomplete: str | None = None
    """A line that says how many of the run's shards have no labels; None if all have."""

    @classmethod
    def of(cls, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> "Answer":
        """An answer that comes as Arrow batches."""
        taken = iter(batches)
        return cls(columns=tuple(schema.names), rows=_rows(taken), schema=schema, batches=taken)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names made different: a join may name two alike, which JSON and Parquet cannot."""
        found: list[str] = []
        for name in self.columns:
            others = (f"{name}_{number}" for number in itertools.count(1))
            found.append(name if name not in found else next(other for other in others if other not in found))
        return tuple(found)


def table_lines(answer: Answer) -> Iterator[str]:
    """The answer as lines of an aligned table; no more than `TABLE_ROWS` rows, and a last line that says so."""
    rows = [[_cell(value) for value in row] for row in itertools.islice(answer.rows, TABLE_ROWS)]
    heads = [(_cell(name)[0], True) for name in answer.columns]
    columns = list(zip(heads, *rows, strict=True))
    numeric = [all(number for _, number in column) for column in columns]
    widths = _widths([max(width(text) for text, _ in column) for column in columns], numeric)

    def line(cells: list[tuple[str, bool]]) -> str:
        aligned = []
        for (text, _), wide, number in zip(cells, widths, numeric, strict=True):
            cut = _cut(text, wide)
            space = " " * (wide - width(cut))
            aligned.append(space + cut if number else cut + space)
        return "  ".join(aligned).rstrip()

    yield line(heads)
    yield "  ".join("-" * width for width in widths)
    yield from map(line, rows)
    if not rows:
        yield "(no rows)"
    elif next(answer.rows, None) is not None:
        yield f"(the first {TABLE_ROWS:,} rows; --format json or csv gives all)"


def json_lines(answer: Answer) -> Iterator[str]:
    """The answer as lines of one JSON array: an object a row and line, binary values in base64, NaN as null; characters
    that act on a terminal are escaped."""
    opening = "["
    for row in answer.rows:
        record = {name: _plain(value) for name, value in zip(answer.names, row, strict=True)}
        yield opening + escaped_json(json.dumps(record, ensure_ascii=False, default=_foreign))
        opening = ","
    yield "]" if opening == "," else "[]"


def csv_lines(answer: Answer, *, raw: bool = False) -> Iterator[str]:
    """The answer as lines of CSV (RFC 4180 but for the line ends) under a line of names; lists and structs are JSON.

    Args:
        answer: what to write.
        raw: leave texts as they are. By default what acts on a terminal is escaped, and a text that a spreadsheet
            would take for a formula begins with an apostrophe.
    """
    for row in itertools.chain([answer.columns], answer.rows):
        fields = [_field(value) for value in row]
        yield _csv(fields if raw else [_safe(field) for field in fields])


def write_parquet(answer: Answer, path: Path) -> int:
    """The answer as a Parquet file, a batch at a time.

    Returns:
        How many rows it has.

    Raises:
        UsageError: a column of a type that Parquet doesn't have.
    """
    schema = pa.schema([field.with_name(name) for field, name in zip(answer.schema, answer.names, strict=True)])
    try:
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            written = 0
            for batch in answer.batches:
                written += batch.num_rows
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
            return written
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        said = " ".join(str(error).split())[:200]
        raise UsageError(f"--format parquet: {said}. CAST the column to a type that Parquet has.") from None


def clean(text: str) -> str:
    """A text as a cell: cut to `CELL_WIDTH`, with what a terminal would act on escaped."""
    return _cut(escaped(text[: CELL_WIDTH + 1]), CELL_WIDTH)


def width(text: str) -> int:
    """Columns that a text takes in a terminal: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _rows(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _cell(value: Any) -> tuple[str, bool]:
    """A value as a table shows it, and whether it is a number. Text from data never reaches the terminal's controls."""
    if value is None:
        return "", True
    if isinstance(value, float):
        return f"{value:.6g}", True
    if isinstance(value, int | decimal.Decimal) and not isinstance(value, bool):
        return str(value), True
    text = value if isinstance(value, str) else _shown(value)
    return clean(text), False


def _widths(widths: list[int], numeric: list[bool]) -> list[int]:
    """Widths of columns, those of text made narrower, the widest first, until a line fits."""
    for most in range(CELL_WIDTH, LEAST_WIDTH - 1, -1):
        cut = [wide if number else min(wide, most) for wide, number in zip(widths, numeric, strict=True)]
        if sum(cut) + 2 * (len(cut) - 1) <= LINE_WIDTH:
            break
    return cut


def _cut(text: str, most: int) -> str:
    """A text that takes no more columns than that; a cut one ends in an ellipsis."""
    if width(text) <= most:
        return text
    while width(text) > most - 1:
        text = text[:-1]
    return text + "…"


def _csv(values: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()


def _field(value: Any) -> Any:
    """A value as CSV has it: nothing for null, as JSON has it else."""
    plain = _plain(value)
    if isinstance(plain, list | dict | bool):
        return json.dumps(plain, ensure_ascii=False, default=_foreign)
    return plain if plain is None or isinstance(plain, str | int | float) else _foreign(plain)


def _safe(value: Any) -> Any:
    """A field that neither a spreadsheet nor a terminal takes for something to be done; numbers stay as they are."""
    if not isinstance(value, str):
        return value
    formula = value.lstrip()[:1] in _FORMULA or value[:1] in _FORMULA
    return escaped(f"'{value}" if formula else value)


def _shown(value: Any) -> str:
    """A value inside a cell: lists and structs in a short form."""
    match value:
        case bytes():
            return f"<{len(value)} bytes>"
        case list():
            # Enough for any cell; a list of a hundred masks is not spelled out to be cut.
            return "[" + ", ".join(_shown(item) for item in value[:CELL_WIDTH]) + "]"
        case dict():
            return "{" + ", ".join(f"{name}: {_shown(item)}" for name, item in value.items()) + "}"
        case float():
            return f"{value:.4g}"
        case None:
            return "null"
        case _:
            return str(value)


def _plain(value: Any) -> Any:
    """A value as JSON has it. Whole decimals are DuckDB's sums of integers."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {str(name): _plain(item) for name, item in value.items()}
        case decimal.Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case _:
            return value


def _foreign(value: object) -> str:
    """What JSON has no type for: binary in base64, times in ISO 8601."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value)
