"""The command `maskmill query`: asks a label table a question in SQL. The answering is done in `pipeline.query`."""

import sys


def query(out: str, sql: str, /, *, json: bool = False) -> int:
    """Ask a label table a question in SQL (DuckDB's dialect); reads only.

    Views: `labels`, one row a sample; `vocabulary`, one row a class; `ledger`, one row a shard, once a run has ended.

    Args:
        out: The run: what `label` was given as --output.
        sql: One SELECT statement, e.g. "SELECT status, count(*) FROM labels GROUP BY ALL".
        json: Print a JSON array of objects instead of a table.

    Returns:
        Exit code 0.
    """
    from pipeline.query import ask, json_lines, table_lines

    with ask(out, sql) as answer:
        for line in json_lines(answer) if json else table_lines(answer):
            print(line)
    return 0


if __name__ == "__main__":
    from jobs.cli import run

    raise SystemExit(run(["query", *sys.argv[1:]]))
