"""The command `maskmill query`: asks a label table a question in SQL. The answering is done in `pipeline.query`."""

import sys
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from maskmill.models.errors import UsageError
from maskmill.pipeline.table.filters import SegmentFilter

if TYPE_CHECKING:
    from maskmill.pipeline.query import Answer

Format = Literal["table", "json", "csv", "parquet"]


def query(
    out: str,
    sql: str,
    /,
    *,
    format: Format | None = None,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    json: bool = False,
    keep: Annotated[SegmentFilter, Parameter(name="*")] = SegmentFilter(),
) -> int:
    """Ask a label table a question in SQL (DuckDB's dialect); reads only.

    A row of `samples` is a sample, of `segments` a segment with its class, of `classes` a class, of `failures` a failed
    sample or shard, of `ledger` (once a run has ended) a shard. The options that filter hold for `segments` and
    `classes`; with --classes, or where the statement says class = 'NAME', only label files that hold one are opened.

    Args:
        out: The run: what `label` was given as --output.
        sql: One SELECT statement, e.g. "SELECT class, count(*) FROM segments GROUP BY ALL". Views: samples, segments,
            classes, failures; beneath them labels (the table itself, with masks), vocabulary, ledger. "DESCRIBE
            segments" tells a view's columns.
        format: How to write the answer: table (aligned, 1,000 rows at most), json (an array of objects), csv, parquet.
            Default: by the ending of --output, else a table.
        output: File or URL for the answer. Default: it is printed.
        json: The same as --format json.
        keep: Which segments count.

    Returns:
        Exit code 0.
    """
    from maskmill.jobs.incomplete import say
    from maskmill.pipeline.query import ask

    how = _format(format, output, json=json)
    if output is not None:
        _refuse_inside(output, out)
    with ask(out, sql, keep) as answer:
        say(answer.incomplete)
        if output is None:
            for line in _lines(answer, how):
                print(line)
        else:
            _write(answer, how, output)
    return 0


def _format(format: Format | None, output: str | None, *, json: bool) -> Format:
    if json and format not in (None, "json"):
        raise UsageError(f"--json and --format {format}: give one of them.")
    if json:
        return "json"
    endings: dict[str, Format] = {"json": "json", "csv": "csv", "parquet": "parquet"}
    found = format or endings.get((output or "").rpartition(".")[2].lower(), "table")
    if found == "parquet" and output is None:
        raise UsageError("--format parquet: not for a terminal. Name a file: -o ANSWER.parquet")
    return found


def _refuse_inside(output: str, out: str) -> None:
    from maskmill.pipeline.stores.urls import canonical, redact

    if (canonical(output) + "/").startswith(canonical(out).rstrip("/") + "/"):
        raise UsageError(
            f"--output {redact(output)!r}: inside the label table, which is only read. Name another place."
        )


def _lines(answer: "Answer", how: Format) -> Iterator[str]:
    from maskmill.pipeline.query import csv_lines, json_lines, table_lines

    return {"table": table_lines, "json": json_lines, "csv": csv_lines}[how](answer)


def _write(answer: "Answer", how: Format, output: str) -> None:
    """The answer appears at its place all at once, or not at all."""
    from dataclasses import replace
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from maskmill.pipeline.query import write_parquet
    from maskmill.pipeline.stores.publish import publish
    from maskmill.pipeline.stores.urls import redact

    with TemporaryDirectory(prefix="maskmill-") as scratch:
        local = Path(scratch) / "answer"
        if how == "parquet":
            written = write_parquet(answer, local)
        else:
            numbered = count()
            counted = replace(answer, rows=(row for row, _ in zip(answer.rows, numbered, strict=False)))
            with local.open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in _lines(counted, how))
            written = next(numbered)
        publish(local, output)
    print(f"{redact(output)}: {written:,} {'row' if written == 1 else 'rows'}")


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["query", *sys.argv[1:]])
