"""What a statement asks of the views, by DuckDB's own planner over empty tables. Nothing is read or run here."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maskmill.pipeline.ledger.ledger import SCHEMA
from maskmill.pipeline.query import views
from maskmill.pipeline.query.bounded import Limits, Statement
from maskmill.pipeline.table.schema import LABELS
from maskmill.pipeline.table.vocabulary_table import VOCABULARY

if TYPE_CHECKING:
    import duckdb

_NAME = r"'(?:[^']|'')*'"
_BOUNDS = (
    re.compile(rf"\(class = {_NAME}\)"),
    re.compile(rf"\(class IN \({_NAME}(?:, {_NAME})*\)\)"),
    re.compile(rf"\(\(class = {_NAME}\)(?: OR \(class = {_NAME}\))+\)"),
)
"""Conditions on the class as DuckDB prints them; one that it prints in another way bounds nothing."""

_EMPTY_HANDED = "statistics_propagation,empty_result_pullup,join_filter_pushdown"
"""Optimizers to be disabled, because they would conclude something from the tables being empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Which views a statement reads, and which rows of `segments` it can do with."""

    views: frozenset[str]
    """Views whose names stand in the statement, as what they may be: `segments` is a column of `samples` too."""

    classes: frozenset[str] | None
    """Every reading of `segments` keeps only these classes; None: some reading isn't so bounded."""


def plan_of(sql: str, limits: Limits = Limits()) -> Plan | None:
    """The plan of a statement; None for one that is wrong, or that can't be planned (DESCRIBE, SHOW).

    Where DuckDB pushes a condition down to where `segments` is read, no other row can matter to the answer: that is
    its optimizer's promise, whatever joins, subqueries and names the statement has.

    Args:
        sql: one statement, a SELECT.
        limits: what planning may take, which computes the statement's constants.

    Raises:
        UsageError: it takes longer.
    """
    import duckdb

    connection = duckdb.connect(":memory:", config={"autoload_known_extensions": False})
    _empty_tables(connection, limits)
    with Statement(connection, limits.seconds) as statement:
        try:
            rows = statement.call(lambda: connection.execute(f"EXPLAIN (FORMAT json) {sql}").fetchall())
            return Plan(views=_named(sql), classes=_bounded(json.loads(rows[-1][1])))
        except (duckdb.Error, ValueError, RecursionError):
            return None


def _empty_tables(connection: "duckdb.DuckDBPyConnection", limits: Limits) -> None:
    tables = {"rows_of_labels": LABELS, "failed_shards": SCHEMA, views.LEDGER: SCHEMA, views.VOCABULARY: VOCABULARY}
    selects = {
        views.LABELS: "FROM rows_of_labels",
        views.SAMPLES: views.samples("rows_of_labels"),
        views.SEGMENTS: views.segments("rows_of_labels", "true"),
        views.CLASSES: views.classes("true", figures=False),
        views.FAILURES: views.failures("rows_of_labels", "failed_shards"),
    }
    for name, schema in tables.items():
        connection.register("given", schema.empty_table())
        connection.execute(f"CREATE TABLE {name} AS FROM given")
        connection.unregister("given")
    for name, select in selects.items():
        connection.execute(f"CREATE TABLE {name} AS {select}")
    for name in ("rows_of_labels", "failed_shards"):
        connection.execute(f"DROP TABLE {name}")
    lock_connection(connection, limits, {"disabled_optimizers": f"'{_EMPTY_HANDED}'"})


def lock_connection(connection: "duckdb.DuckDBPyConnection", limits: Limits, settings: Mapping[str, str]) -> None:
    """Makes some settings and locks the connection: no file, no extension, no change of settings after this."""
    locks = {
        "memory_limit": f"'{limits.bytes // 10**6} MB'",
        "autoinstall_known_extensions": "false",
        "allow_community_extensions": "false",
        "python_enable_replacements": "false",  # else a name in SQL could mean a variable of this program
        "enable_external_access": "false",
        "lock_configuration": "true",
    }
    for name, value in {**settings, **locks}.items():
        connection.execute(f"SET {name} = {value}")


def _named(sql: str) -> frozenset[str]:
    return frozenset(view for view in views.ALL if re.search(rf"\b{view}\b", sql, re.IGNORECASE))


def _bounded(plan: Any) -> frozenset[str] | None:
    """The classes that all readings of `segments` are bounded to."""
    classes: set[str] = set()
    for node in _nodes(plan):
        told = node.get("extra_info")
        if not isinstance(told, dict) or str(told.get("Table")).rsplit(".", 1)[-1] != views.SEGMENTS:
            continue
        kept = _classes(told.get("Filters"))
        if kept is None:
            return None
        classes |= kept
    return frozenset(classes)


def _nodes(plan: Any) -> Iterator[dict[str, Any]]:
    waiting = list(plan) if isinstance(plan, list) else [plan]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.get("children", [])


def _classes(filters: Any) -> set[str] | None:
    for condition in [filters] if isinstance(filters, str) else filters or ():
        plain = condition.removeprefix("optional: ")
        if any(bound.fullmatch(plain) for bound in _BOUNDS):
            return {name[1:-1].replace("''", "'") for name in re.findall(_NAME, plain)}
    return None
