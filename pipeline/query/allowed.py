"""Which statements may run: queries whose every node, as DuckDB's own parser gives it, only reads the views.

What isn't listed here is refused, so that a later DuckDB can bring no statement, table or function that wasn't looked
at. The connection's locks (`plan.lock_connection`) hold beside it.
"""

import json
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from maskmill.models.errors import UsageError
from maskmill.pipeline.query import views

if TYPE_CHECKING:
    import duckdb

LONGEST = 100_000
"""Most characters of a statement: parsing takes time and stack."""


def _listed(names: str) -> frozenset[str]:
    return frozenset(names.split())


_EXPRESSIONS = _listed(
    "BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA LAMBDA_REF OPERATOR "
    "POSITIONAL_REFERENCE STAR SUBQUERY TYPE WINDOW"
)
"""Classes of expressions."""

_NODES = _listed(
    "SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE CTE_NODE BASE_TABLE EMPTY EXPRESSION_LIST JOIN PIVOT SHOW_REF "
    "SUBQUERY TABLE_FUNCTION DISTINCT_MODIFIER LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER ORDER_MODIFIER ORDER_DEFAULT "
    "ASCENDING DESCENDING"
)
"""Types of the other nodes: queries, where rows come from, and how they are sorted and cut."""

_TABLE_FUNCTIONS = frozenset(("unnest", "range", "generate_series", "json_each", "json_tree"))
"""Functions that rows may come from; the others read files, settings, logs or statements in texts."""

_PURE = """
SELECT DISTINCT lower(function_name) FROM duckdb_functions()
WHERE internal AND (
    (function_type IN ('scalar', 'aggregate', 'window') AND stability = 'CONSISTENT')
    OR (function_type = 'macro' AND schema_name = 'main')
)
"""
"""Functions that are one value of their arguments, by DuckDB's own word for them."""

_ALSO = _listed(
    "unnest grouping grouping_id row_number rank dense_rank rank_dense percent_rank cume_dist ntile lag lead fill "
    "first_value last_value nth_value now today current_date current_timestamp current_time get_current_time "
    "get_current_timestamp transaction_timestamp random uuid uuidv4 uuidv7 gen_random_uuid error"
)
"""Functions that the list leaves out, or counts as changing: windows, the clock, chance, an error on purpose."""

_NEITHER = _listed("current_setting getvariable json_serialize_plan json_serialize_sql json_deserialize_sql")
"""Functions that it has, in some version, and that tell of the program or make a plan."""

_SHOWN = ("tables", "__show_tables_expanded")
"""What SHOW lists: SHOW TABLES, SHOW ALL TABLES."""

_WORDS = _listed(
    "all and anti any array as asc asof between bigint boolean both by case cast class coalesce columns cross cube "
    "current date day days decimal desc describe distinct double else end error escape except exclude exists extract "
    "false filter first float following for from full glob group grouping groups having hour hours ilike in include "
    "inner int integer intersect interval is join key last lateral leading left like limit map materialized minute "
    "minutes month months name names natural not null nulls numeric offset on only or order others outer over overlay "
    "partition pivot pivot_longer pivot_wider position positional preceding precision qualify range read real "
    "recursive "
    "replace replica right rollup row rows sample second seconds select semi sets share similar smallint some source "
    "struct substring symmetric tablesample text then ties time timestamp to trailing trim true try try_cast "
    "type union "
    "unpivot unbounded using value values varchar when where window with within without year years zone"
)
"""Keywords of a PIVOT and of the queries in it; several are names of columns too."""


_CATALOGUE = ("sqlite_", "duckdb_", "pragma_", "pg_", "information_schema", "maskmill_rows")
"""How names of DuckDB's own tables begin, and of what the views are made of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Token:
    kind: str
    """DuckDB's name of it: keyword, identifier, operator, string_const, ..."""

    text: str
    """In lower case; without its quotes, if it is an identifier."""

    start: int
    """Its place in the statement's UTF-8."""


def check(sql: str) -> None:
    """Refuse a statement that isn't one query over the run's views.

    A query is a SELECT or what DuckDB makes one of (WITH, FROM, VALUES, TABLE, PIVOT, UNPIVOT, DESCRIBE, SUMMARIZE,
    SHOW TABLES), or EXPLAIN of one, which plans it and doesn't run it.

    Raises:
        UsageError: it isn't one, or can't be parsed.
    """
    import duckdb

    if len(sql) > LONGEST:
        raise UsageError(f"SQL: a statement of {len(sql):,} characters; expected {LONGEST:,} at most. Make it shorter.")
    if "\0" in sql or sql != sql.encode(errors="replace").decode():
        raise UsageError("SQL: a NUL or half a surrogate pair; expected one SELECT in UTF-8. Leave it out.")
    connection = duckdb.connect(":memory:", config={"autoload_known_extensions": False})
    try:
        _check(connection, sql, _functions())
    except duckdb.Error as error:
        raise UsageError(f"SQL: {' '.join(str(error).split())}"[:500]) from None
    finally:
        connection.close()


def lists_tables(sql: str) -> bool:
    """Whether a statement that is allowed is SHOW TABLES, whatever comments stand around it."""
    return [token.text for token in _tokens(sql)][:3] in (["show", "tables"], ["show", "tables", ";"])


@cache
def _functions() -> frozenset[str]:
    """Functions that a statement may call, of the DuckDB that is installed."""
    import duckdb

    connection = duckdb.connect(":memory:", config={"autoload_known_extensions": False})
    try:
        pure = {row[0] for row in connection.execute(_PURE).fetchall()}
    finally:
        connection.close()
    return frozenset((pure | _ALSO) - _NEITHER)


def _check(connection: "duckdb.DuckDBPyConnection", sql: str, functions: Set[str]) -> None:
    statements = _parsed(connection, sql)
    tokens = [] if statements is not None else _tokens(sql)
    if len(tokens) > 1 and tokens[0].text == "explain":
        # The rest of EXPLAIN ANALYZE, which would run what it explains, is no query.
        statements = _parsed(connection, sql.encode()[tokens[1].start :].decode())
    elif any(token.text in ("pivot", "pivot_wider") for token in tokens):
        # The parser gives no tree of a PIVOT whose columns come from the data.
        return _check_words(tokens, functions)
    if statements is None:
        if any(token.text == ";" for token in tokens[:-1]):
            raise UsageError("SQL: several statements; expected one, a SELECT. Ask one question at a time.")
        raise UsageError(
            f"SQL: {tokens[0].text[:40].upper()} is no query; expected a SELECT: the table is only read. "
            "To write the answer to a file, give -o FILE."
        )
    if len(statements) != 1:
        raise UsageError(f"SQL: {len(statements)} statements; expected one, a SELECT. Ask one question at a time.")
    return _check_tree(statements[0], functions)


def _parsed(connection: "duckdb.DuckDBPyConnection", sql: str) -> list[Any] | None:
    """The trees of all statements; None where one of them isn't a query."""
    try:
        found = json.loads(connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0][0])
    except RecursionError:
        raise UsageError("SQL: a statement of too many levels. Make it plainer.") from None
    if not found["error"]:
        return list(found["statements"])
    if found["error_type"] == "not implemented":
        return None
    raise UsageError(f"SQL: {' '.join(str(found['error_message']).split())}"[:500])


def _check_tree(tree: Any, functions: Set[str]) -> None:
    tables, known = set(), {*views.ALL}
    for node, gives_rows in _nodes(tree):
        kind = node.get("class", node.get("type"))
        if isinstance(kind, str) and not (
            kind in (_EXPRESSIONS if "class" in node else _NODES) or kind.endswith("_TYPE_INFO")
        ):
            raise _refused(kind.replace("_", " ").lower())
        if "function_name" in node:
            name = str(node["function_name"]).lower()
            if name not in (_TABLE_FUNCTIONS if gives_rows else functions):
                raise _refused(f"the function {name}")
        known |= _named_here(node)
        if kind == "BASE_TABLE":
            parts = [node["catalog_name"], node["schema_name"], node["table_name"]]
            tables.add(
                ".".join(str(part).lower() for part in parts if part).removeprefix("memory.").removeprefix("main.")
            )
        elif kind == "SHOW_REF" and (shown := str(node["table_name"]).strip('"').lower()) not in ("", *_SHOWN):
            tables.add(shown)
    for table in sorted(tables - known):
        raise UsageError(
            f"SQL: {table[:80]!r} is no table here; expected one of {', '.join(views.ALL)}. No other table or file is "
            "read: file system operations are disabled."
        )


def _named_here(node: dict[str, Any]) -> set[str]:
    """Names that a WITH gives to queries."""
    value = node.get("value")
    if "key" in node and isinstance(value, dict) and ("query" in value or "query_node" in value):
        return {str(node["key"]).lower()}
    return {str(node["cte_name"]).lower()} if "cte_name" in node else set()


def _nodes(tree: Any) -> Iterator[tuple[dict[str, Any], bool]]:
    """All nodes, and of each whether it is the function that a query takes its rows from."""
    waiting = [(tree, False)]
    while waiting:
        node, gives_rows = waiting.pop()
        if isinstance(node, list):
            waiting += [(each, False) for each in node]
        elif isinstance(node, dict):
            yield node, gives_rows
            of_rows = node.get("type") == "TABLE_FUNCTION"
            waiting += [(value, of_rows and name == "function") for name, value in node.items()]


def _check_words(tokens: list[_Token], functions: Set[str]) -> None:
    """The same of a statement without a tree: each keyword, and each word that a bracket follows."""
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.kind == "keyword" and token.text not in _WORDS:
            raise _refused(f"the keyword {token.text.upper()} in a PIVOT")
        if token.text == ";" and after is not None:
            raise UsageError("SQL: several statements; expected one, a SELECT. Ask one question at a time.")
        if token.kind == "identifier" and token.text.startswith(_CATALOGUE):
            raise _refused(f"the name {token.text}")
        called = token.kind == "identifier" and after is not None and after.text == "("
        if called and token.text not in functions | _TABLE_FUNCTIONS:
            raise _refused(f"the function {token.text}")


def _tokens(sql: str) -> list[_Token]:
    import duckdb

    data = sql.encode()
    found = [(start, kind.name) for start, kind in duckdb.tokenize(sql) if kind.name != "comment"]
    return [
        _Token(kind=kind, text=_word(data[start:end].decode(errors="replace"), kind), start=start)
        for (start, kind), (end, _) in zip(found, [*found[1:], (len(data), "")], strict=True)
    ]


def _word(text: str, kind: str) -> str:
    """What a token says, without the white space and comments after it."""
    if kind == "operator":
        return text[:1]
    if quoted := re.match(r'"((?:[^"]|"")*)"', text):
        return quoted[1].replace('""', '"').lower()
    return re.split(r"\s|/\*|--", text, maxsplit=1)[0].lower()


def _refused(what: str) -> UsageError:
    return UsageError(
        f"SQL: {what[:80]} isn't allowed; expected a SELECT over the run's views with functions of values alone. It "
        "only reads: file system operations are disabled."
    )
