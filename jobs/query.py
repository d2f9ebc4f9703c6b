"""The command `maskmill query`: asks a label table a question in SQL. The answering is done in `pipeline.query`."""

import posixpath
import sys
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from maskmill.jobs.byte_size import byte_size
from maskmill.jobs.places import check_file, suffix_of
from maskmill.models.errors import UsageError
from maskmill.pipeline.steps import Steps
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.terminal import print_lines, print_pieces

if TYPE_CHECKING:
    from maskmill.pipeline.query import Answer

Format = Literal["table", "json", "csv", "parquet"]

_ENDINGS: dict[str, Format] = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".txt": "table"}
"""What the suffix of --output says."""


def query(
    out: str,
    sql: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    format: Format | None = None,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    json: bool = False,
    raw: bool = False,
    memory: str | None = None,
    timeout: float = 3600.0,
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
            Default: by the ending of --output (.csv, .json, .parquet, or .txt for a table), else a table.
        output: File or URL for the answer. Default: it is printed.
        json: The same as --format json.
        raw: CSV with texts as they are, for programs. By default a text that a spreadsheet would take for a formula (it
            begins with =, +, -, @) gets an apostrophe before it, and control characters are escaped.
        memory: What the statement may take, such as 8GB. Default: a quarter of the machine's memory.
        timeout: Seconds that the statement may take.
        keep: Which segments count.

    Returns:
        Exit code 0.
    """
    Steps()("asking the label table", logged=False)
    from maskmill.jobs.incomplete import say
    from maskmill.pipeline.query import Limits, ask, process_memory

    if output is not None:
        _refuse_inside(output, out)
    how = _format(format, output, json=json)
    if raw and how != "csv":
        raise UsageError(f"--raw: expected --format csv, not {how}; JSON and Parquet have texts as they are.")
    if not 0 < timeout <= 1e9:
        raise UsageError(f"--timeout {timeout:g}: expected seconds, more than 0.")
    limits = Limits(memory=None if memory is None else byte_size("--memory", memory), seconds=timeout)
    with process_memory(limits), ask(out, sql, keep, limits=limits) as answer:
        Steps.clear()
        say(answer.incomplete)
        if output is None:
            # Lines of JSON and CSV hold their own line ends; their texts are escaped already.
            print_pieces(f"{line}\n" for line in _lines(answer, how, raw=raw))
        else:
            _write(answer, how, output, raw=raw)
    return 0


def _format(format: Format | None, output: str | None, *, json: bool) -> Format:
    if json and format not in (None, "json"):
        raise UsageError(f"--json and --format {format}: give one of them.")
    asked = "json" if json else format
    if output is None:
        if asked == "parquet":
            raise UsageError("--format parquet: not for a terminal. Name a file: -o ANSWER.parquet")
        return asked or "table"
    ending = suffix_of(output)
    if asked is None or _ENDINGS.get(ending) not in (None, "table"):
        check_file("--output", output, [one for one, named in _ENDINGS.items() if asked in (None, named)])
    return asked or _ENDINGS[ending]


def _refuse_inside(output: str, out: str) -> None:
    from maskmill.pipeline.stores.urls import canonical, redact

    if (canonical(output) + "/").startswith(canonical(out).rstrip("/") + "/"):
        raise UsageError(
            f"--output {redact(output)!r}: inside the label table, which is only read. Name another place."
        )


def _lines(answer: "Answer", how: Format, *, raw: bool) -> Iterator[str]:
    from maskmill.pipeline.query import csv_lines, json_lines, table_lines

    if how == "csv":
        return csv_lines(answer, raw=raw)
    return (json_lines if how == "json" else table_lines)(answer)


def _write(answer: "Answer", how: Format, output: str, *, raw: bool) -> None:
    """The answer appears at its place all at once, or not at all."""
    from dataclasses import replace

    from maskmill.models.scratch import scratch_folder
    from maskmill.pipeline.query import write_parquet
    from maskmill.pipeline.stores.leftovers import remove_leftovers
    from maskmill.pipeline.stores.publish import publish
    from maskmill.pipeline.stores.urls import redact

    remove_leftovers(posixpath.dirname(output) or ".")
    with scratch_folder() as scratch:
        local = scratch / "answer"
        if how == "parquet":
            written = write_parquet(answer, local)
        else:
            numbered = count()
            counted = replace(answer, rows=(row for row, _ in zip(answer.rows, numbered, strict=False)))
            with local.open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in _lines(counted, how, raw=raw))
            written = next(numbered)
        publish(local, output)
    print_lines(f"{redact(output)}: {written:,} {'row' if written == 1 else 'rows'}")


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["query", *sys.argv[1:]])
