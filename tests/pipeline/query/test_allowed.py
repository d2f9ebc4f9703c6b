"""Statements that people ask, and statements that would do anything else than read the views."""

from pathlib import Path

import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline.query import ask
from maskmill.pipeline.query.allowed import LONGEST, check

STATEMENTS = Path(__file__).parents[2] / "data" / "statements"


def statements(name):
    return [text.strip("\n") for text in (STATEMENTS / name).read_text().split("\n;;\n")]


@pytest.fixture(scope="module")
def files(made):
    """Bytes of all files of the table and of the folder beside it, which tests compare."""
    return {path: path.read_bytes() for path in made.parent.rglob("*") if path.is_file()}


@pytest.mark.parametrize("sql", statements("allowed.sql"))
def test_a_query_is_allowed(sql):
    check(sql)


@pytest.mark.parametrize("sql", [*statements("refused.sql"), "", ";", "SELECT 1\0", "SELECT '\udcff'"])
def test_anything_else_is_refused_in_one_line(sql):
    with pytest.raises(UsageError) as caught:
        check(sql)
    assert str(caught.value).startswith("SQL: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sql", [f"SELECT {'(' * 20000}1{')' * 20000}", f"SELECT '{'x' * LONGEST}'"])
def test_a_statement_that_would_take_the_parsers_stack_is_refused(sql):
    with pytest.raises(UsageError, match="SQL: "):
        check(sql)


def test_a_statement_of_many_levels_ends_in_one_line(made):
    sql = "SELECT * FROM (" * 3000 + "SELECT 1" + ")" * 3000
    with pytest.raises(UsageError, match="SQL: "), ask(str(made), sql) as answer:
        list(answer.rows)


@pytest.mark.parametrize(
    "copy",
    [
        "WITH x AS (COPY (SELECT 1) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)) FROM x",
        "COPY (SELECT 1) TO '{file}'",
        "WITH x AS (COPY (SELECT 1) TO '{file}') PIVOT x ON Count",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}'",
        "PIVOT '{file}' ON key",
        "FROM '{file}'",
        "FROM read_parquet('{file}')",
        "FROM read_parquet('{folder}/run.json')",
        "ATTACH '{folder}/new.db'",
    ],
)
def test_files_of_the_run_are_neither_written_nor_read_by_path(made, files, copy, monkeypatch):
    monkeypatch.chdir(made.parent)
    file = next(path for path in sorted(files) if path.parent.name == "labels")
    sql = copy.format(file=file, folder=made)
    with pytest.raises(UsageError, match="SQL: "), ask(str(made), sql) as answer:
        list(answer.rows)
    assert {path: path.read_bytes() for path in made.parent.rglob("*") if path.is_file()} == files


def test_the_connection_refuses_what_the_list_let_through(made, files, monkeypatch):
    monkeypatch.setattr("maskmill.pipeline.query.session.check", lambda sql: None)
    file = next(path for path in sorted(files) if path.parent.name == "labels")
    for sql in (
        f"WITH x AS (COPY (SELECT 1) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)) FROM x",
        f"COPY (SELECT 1) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)",
        f"FROM read_parquet('{file}')",
        "FROM read_text('/etc/hostname')",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "LOAD httpfs",
        f"ATTACH '{made}/new.db'",
    ):
        with pytest.raises(UsageError), ask(str(made), sql) as answer:
            list(answer.rows)
    assert {path: path.read_bytes() for path in made.parent.rglob("*") if path.is_file()} == files


def test_pivots_and_comments_answer(made):
    def rows(sql):
        with ask(str(made), sql) as answer:
            return list(answer.rows)

    counts = [count for _, count in rows("SELECT kind, count(*) FROM segments GROUP BY ALL ORDER BY ALL")]
    assert rows("-- by kind\nPIVOT (SELECT kind FROM segments) ON kind USING count(*)") == [tuple(counts)]
    assert rows("/* c */ FROM (PIVOT (SELECT kind FROM segments) ON kind USING count(*))") == [tuple(counts)]
    assert rows("-- a comment\nSELECT 1") == [(1,)]
    assert rows("EXPLAIN SELECT 1")[0][0] == "physical_plan"
