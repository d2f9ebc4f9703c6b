"""Answers SQL about a run's tables with DuckDB, reading and nothing else. It changes no file and opens no other one."""

import base64
import datetime
import decimal
import itertools
import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.errors import UsageError
from pipeline.label_table import LabelTable
from pipeline.output import Output
from pipeline.publish import is_local
from pipeline.urls import filesystem, redact

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

CELL_WIDTH = 60
"""Characters of one value in a printed table; longer ones are cut and end in an ellipsis."""

TABLE_ROWS = 1000
"""Rows of a printed table, whose columns are aligned only once all rows are known; JSON prints every row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The result of one statement; rows are computed as they are taken."""

    columns: tuple[str, ...]
    """Names of the columns."""

    rows: Iterator[tuple[Any, ...]]
    """Values in the order of the columns: Python's own types, lists, and dicts for structs."""


@contextmanager
def ask(url: str, sql: str) -> Iterator[Answer]:
    """Run one SQL statement over a run: views `labels`, `vocabulary`, and `ledger` once the run has one.

    The connection lives in memory, runs no statement but SELECT (and what DuckDB counts as one: WITH, FROM, VALUES,
    DESCRIBE, SUMMARIZE, SHOW), opens no file but these views', loads no extension.

    Args:
        url: OUT of the run.
        sql: one statement in DuckDB's dialect.

    Yields:
        The answer, good inside the `with`.

    Raises:
        UsageError: OUT has no label files, or the statement is not one, not allowed or not right; also while rows are
            taken.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="maskmill-") as scratch, _one_line_errors():
        connection = duckdb.connect(":memory:", config={"autoload_known_extensions": False})
        try:
            _open_views(connection, Output.of(url), scratch)
            _check(connection, sql)
            relation = connection.sql(sql)
            assert relation is not None, "a SELECT has a result"
            reader = relation.to_arrow_reader(1024)
            yield Answer(columns=tuple(reader.schema.names), rows=_rows(reader))
        finally:
            connection.close()


def table_lines(answer: Answer) -> Iterator[str]:
    """The answer as lines of an aligned table; no more than `TABLE_ROWS` rows, and a last line that says so."""
    rows = [[_cell(value) for value in row] for row in itertools.islice(answer.rows, TABLE_ROWS)]
    numeric = [True] * len(answer.columns)
    texts = []
    for row in rows:
        texts.append([text for text, _ in row])
        numeric = [before and number for before, (_, number) in zip(numeric, row, strict=True)]
    heads = [_cell(name)[0] for name in answer.columns]
    widths = [max(map(len, column)) for column in zip(heads, *texts, strict=True)]

    def line(cells: list[str]) -> str:
        aligned = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, numeric, strict=True)
        ]
        return "  ".join(aligned).rstrip()

    yield line(heads)
    yield "  ".join("-" * width for width in widths)
    yield from map(line, texts)
    if not rows:
        yield "(no rows)"
    elif next(answer.rows, None) is not None:
        yield f"(the first {TABLE_ROWS:,} rows; --json prints all)"


def json_lines(answer: Answer) -> Iterator[str]:
    """The answer as lines of one JSON array: an object a row and line, binary values in base64, NaN as null."""
    names: list[str] = []
    for name in answer.columns:
        # A join may name two columns alike; an object of JSON cannot.
        fresh = (f"{name}_{number}" for number in itertools.count(1))
        names.append(name if name not in names else next(other for other in fresh if other not in names))
    opening = "["
    for row in answer.rows:
        record = {name: _plain(value) for name, value in zip(names, row, strict=True)}
        yield opening + json.dumps(record, ensure_ascii=False, default=_foreign)
        opening = ","
    yield "]" if opening == "," else "[]"


@contextmanager
def _one_line_errors() -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        # DuckDB repeats the statement with a caret below the message; a command's error is one line.
        message = " ".join(str(error).split("\n\nLINE ")[0].split())
        raise UsageError(redact(f"SQL: {message}")[:500]) from None


def _open_views(connection: "duckdb.DuckDBPyConnection", output: Output, scratch: str) -> None:
    """Makes the views, then shuts every door: no other path, no extension, no setting changes after this."""
    labels = LabelTable(output).files
    views = {"labels": labels, "vocabulary": [output.vocabulary], "ledger": [output.ledger]}
    fs, _ = filesystem(output.url)
    present = {name: urls for name, urls in views.items() if name == "labels" or fs.exists(filesystem(urls[0])[1])}
    if not is_local(output.url):
        connection.register_filesystem(fs)
        # DuckDB looks names up as the file system spells them; only that spelling is then allowed.
        present = {name: [fs.unstrip_protocol(filesystem(url)[1]) for url in urls] for name, urls in present.items()}

    settings = {
        "temp_directory": _quoted(scratch),
        "allowed_paths": _list([url for urls in present.values() for url in urls]),
        "allowed_directories": _list([scratch + "/"]),
        "autoinstall_known_extensions": "false",
        "python_enable_replacements": "false",  # else a name in SQL could mean a variable of this program
        "enable_progress_bar": "false",
        "preserve_insertion_order": "true",
        "enable_external_access": "false",
        "lock_configuration": "true",
    }
    for name, value in settings.items():
        connection.execute(f"SET {name} = {value}")
    for name, urls in present.items():
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({_list(urls)})")  # noqa: S608 - quoted


def _check(connection: "duckdb.DuckDBPyConnection", sql: str) -> None:
    import duckdb

    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise UsageError(f"SQL: {len(statements)} statements; expected one, a SELECT. Ask one question at a time.")
    # EXPLAIN is none: EXPLAIN ANALYZE runs what it explains, and a COPY could then overwrite a label file.
    if statements[0].type is not duckdb.StatementType.SELECT:
        raise UsageError(
            f"SQL: a {statements[0].type.name} statement; expected a SELECT: the table is only read. "
            "To write elsewhere, open OUT/labels/*.parquet with your own DuckDB."
        )


def _rows(reader: "pa.RecordBatchReader") -> Iterator[tuple[Any, ...]]:
    for batch in reader:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _list(texts: list[str]) -> str:
    return "[" + ", ".join(map(_quoted, texts)) + "]"


def _cell(value: Any) -> tuple[str, bool]:
    """A value as a table shows it, and whether it is a number. Text from data never reaches the terminal's controls."""
    if value is None:
        return "", True
    if isinstance(value, float):
        return f"{value:.6g}", True
    if isinstance(value, int | decimal.Decimal) and not isinstance(value, bool):
        return str(value), True
    text = value if isinstance(value, str) else _shown(value)
    clean = "".join(character if character.isprintable() else " " for character in text[: CELL_WIDTH + 1])
    return (clean if len(clean) <= CELL_WIDTH else clean[: CELL_WIDTH - 1] + "…"), False


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
