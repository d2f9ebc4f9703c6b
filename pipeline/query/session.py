"""One statement over one run: a locked DuckDB connection, the views it may read, and errors of one line."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.scratch import scratch_folder
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline import run
from maskmill.pipeline.ledger import class_ledger
from maskmill.pipeline.ledger.ledger import SCHEMA as LEDGER_COLUMNS
from maskmill.pipeline.ledger.status import Status
from maskmill.pipeline.ledger.status import status as read_status
from maskmill.pipeline.output import LABEL_SUFFIX, Output
from maskmill.pipeline.query import store, views
from maskmill.pipeline.query.figures import Figures
from maskmill.pipeline.query.formats import Answer
from maskmill.pipeline.query.plan import Plan, plan_of, shut
from maskmill.pipeline.stores.publish import is_local
from maskmill.pipeline.stores.urls import filesystem, redact
from maskmill.pipeline.table import vocabulary_table
from maskmill.pipeline.table.filters import BoundFilter, SegmentFilter
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.schema import LABELS
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run

if TYPE_CHECKING:
    import duckdb

_FAILED = "maskmill.failed_shards"


@contextmanager
def ask(url: str, sql: str, keep: SegmentFilter = SegmentFilter()) -> Iterator[Answer]:
    """Run one SQL statement over a run. Its views are those of `pipeline.query.views`.

    The connection lives in memory, runs no statement but SELECT (and what DuckDB counts as one: WITH, FROM, VALUES,
    DESCRIBE, SUMMARIZE, SHOW), opens no file but these views', loads no extension. Where every reading of `segments`
    is bounded to some classes, by `keep` or by the statement (class = 'zebra', class IN (...)), only the label files
    that hold one of them are opened; `failures` opens those that hold a failed sample. The ledger tells which.

    Args:
        url: OUT of the run.
        sql: one statement in DuckDB's dialect.
        keep: which segments `segments` and `classes` show.

    Yields:
        The answer, good inside the `with`.

    Raises:
        UsageError: OUT has no label files, the filter doesn't fit, or the statement is not one, not allowed or not
            right; also while rows are taken.
        OutputError: a file can't be read.
    """
    import duckdb

    session = _Session(Output.of(url), keep)
    with scratch_folder() as scratch, session.one_line_errors():
        connection = duckdb.connect(":memory:", config={"autoload_known_extensions": False})
        try:
            session.lock(connection, str(scratch))
            _check(connection, sql)
            session.open_views(connection, plan_of(sql))
            relation = connection.sql(sql)
            assert relation is not None, "a SELECT has a result"
            yield replace(Answer.of(relation.to_arrow_reader(1024)), incomplete=session.table.incomplete)
        finally:
            connection.close()


class _Session:
    def __init__(self, output: Output, keep: SegmentFilter) -> None:
        self.table = LabelTable(output)
        self.files = self.table.files
        self.vocabulary: Vocabulary = vocabulary_of_run(output)
        self.keep = keep
        self.bound: BoundFilter = self._bound()
        self.failures: list[Exception] = []
        self.sizes: dict[str, int] | None = None
        self.made = 0
        self.columns = self.ledger_columns = ""
        """Local paths of files without rows: DuckDB takes a table's columns from the first file it is given."""

    @property
    def output(self) -> Output:
        return self.table.output

    def _bound(self) -> BoundFilter:
        # Labels without their run can be asked all but what depends on how they were made.
        if self.keep == SegmentFilter():
            return self.keep.bound(self.vocabulary, "")
        identity = run.require(self.output)["identity"]
        inference = str(identity.get("inference"))
        return self.keep.bound(self.vocabulary, inference, agreement=run.has_agreement(identity))

    # --- the connection

    def lock(self, connection: "duckdb.DuckDBPyConnection", scratch: str) -> None:
        """Shuts every door: no other path, no extension, no setting changes after this."""
        local = is_local(self.output.url)
        self.columns = f"{scratch}/columns.parquet"
        pq.write_table(LABELS.empty_table(), self.columns)
        self.ledger_columns = f"{scratch}/ledger.parquet"
        pq.write_table(LEDGER_COLUMNS.empty_table(), self.ledger_columns)
        shut(
            connection,
            {
                "temp_directory": _quoted(scratch),
                "allowed_paths": _list([_path(url) for url in [*self.files, self.output.ledger]] if local else []),
                "allowed_directories": _list([scratch + "/"]),
                "enable_progress_bar": "false",
                "preserve_insertion_order": "true",
            },
        )

    def open_views(self, connection: "duckdb.DuckDBPyConnection", asked: Plan | None) -> None:
        """Makes the views that a statement names; all of them where it names none (SHOW TABLES) or can't be planned."""
        wanted = asked.views if asked and asked.views else None
        if wanted is not None and self.keep != SegmentFilter() and not wanted & {views.SEGMENTS, views.CLASSES}:
            raise UsageError(
                "a filter and a statement that reads neither `segments` nor `classes`: it would change nothing. "
                "Ask one of these, or leave the filter out."
            )
        connection.register("given", vocabulary_table.to_table(self.vocabulary))
        connection.execute(f"CREATE TABLE {views.VOCABULARY} AS FROM given")
        connection.unregister("given")
        # What a statement that names no view is not shown needs not be right.
        told = asked is None or views.FAILURES in asked.views
        status = read_status(self.output) if told else Status.from_rows([])
        connection.register("given", status.table.filter(pc.field("state") == "failed").select(["url", "error"]))
        connection.execute("CREATE SCHEMA maskmill")
        connection.execute(f"CREATE TABLE {_FAILED} AS FROM given")
        connection.unregister("given")
        if wanted is None or views.CLASSES in wanted:
            self._figures(connection)
        made: dict[str, Callable[[], str]] = {
            views.LABELS: lambda: f"FROM {self._rows(connection, self.files, LABELS)}",
            views.SAMPLES: lambda: views.samples(self._rows(connection, self.files, LABELS)),
            views.SEGMENTS: lambda: views.segments(
                self._rows(connection, self._holding(asked), LABELS), self.bound.sql("s")
            ),
            views.CLASSES: lambda: views.classes(self._classes(), figures=True),
            views.FAILURES: lambda: views.failures(self._rows(connection, self._failing(status), LABELS), _FAILED),
            views.LEDGER: lambda: f"FROM {self._rows(connection, [self.output.ledger], LEDGER_COLUMNS)}",
        }
        for name, select in made.items():
            if (wanted is None or name in wanted) and (name != views.LEDGER or self._has_ledger()):
                connection.execute(f"CREATE VIEW {name} AS {select()}")

    # --- which files

    def _rows(self, connection: "duckdb.DuckDBPyConnection", urls: Sequence[str], schema: pa.Schema) -> str:
        """SQL of the rows of some files, of any version; `schema` is `LABELS` or the ledger's."""
        if is_local(self.output.url):
            # Files may be of several schema versions: fields are found by name, with null for what isn't there.
            if schema is LABELS:
                return f"read_parquet({_list([self.columns, *(_path(url) for url in urls)])})"
            return f"read_parquet({_list([self.ledger_columns, *(_path(url) for url in urls)])}, union_by_name = true)"
        if self.sizes is None:
            listed = self.output.label_files().items()
            self.sizes = {self.output.label(name.removesuffix(LABEL_SUFFIX)): n for name, n in listed if n is not None}
        name = f"maskmill_rows_{self.made}"
        self.made += 1
        connection.register(name, store.rows_of(urls, schema, self.sizes, self.failures))
        return name

    def _holding(self, asked: Plan | None) -> Sequence[str]:
        """Files that hold a segment which the statement can see."""
        ids = self.bound.ids
        named = asked.classes if asked and views.SEGMENTS in asked.views else None
        if named is not None:
            ids &= {entry.vocab_id for entry in self.vocabulary if entry.name in named}
        if self.bound.every_class and named is None:
            return self.files
        if not ids:
            return self.files[:1]
        # A view has at least one file, to know its columns by.
        return class_ledger.read(self.table, len(self.vocabulary), ids).holding or self.files[:1]

    def _failing(self, status: Status) -> Sequence[str]:
        """Files that hold a failed sample, as far as the ledger tells."""
        done = status.table.filter(pc.field("state") == "done")
        told = set(pc.unique(done["label_file"]).to_pylist())
        failing = set(pc.unique(done.filter(pc.field("failed") > 0)["label_file"]).to_pylist())
        kept = [url for url in self.files if (name := url.rsplit("/", 1)[-1]) in failing or name not in told]
        return kept or self.files[:1]

    def _has_ledger(self) -> bool:
        fs, path = filesystem(self.output.ledger)
        return bool(fs.exists(path))

    # --- classes

    def _classes(self) -> str:
        if self.bound.every_class:
            return "true"
        return f"vocab_id IN ({', '.join(map(str, sorted(self.bound.ids))) or 'NULL'})"

    def _figures(self, connection: "duckdb.DuckDBPyConnection") -> None:
        figures = Figures(self.table, self.vocabulary, self.bound)

        def function(name: str) -> Callable[[pa.ChunkedArray], pa.Array]:
            def values(ids: pa.ChunkedArray) -> pa.Array:
                try:
                    return figures.column(name, np.asarray(ids))
                except (UsageError, EnvironmentFailure) as error:
                    self.failures.append(error)
                    raise

            return values

        # Its annotations want an enumeration that the package doesn't export.
        create: Any = connection.create_function
        for name, kind in views.FIGURES.items():
            create(views.figure(name), function(name), ["INTEGER"], kind, type="arrow")

    # --- errors

    @contextmanager
    def one_line_errors(self) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            if self.failures:
                raise self.failures[0] from None
            # DuckDB repeats the statement with a caret below the message; a command's error is one line.
            message = " ".join(str(error).split("\n\nLINE ")[0].split())
            if isinstance(error, duckdb.IOException | duckdb.InvalidInputException) and self.output.labels in message:
                raise UsageError(f"{redact(message)[:400]}. Run `maskmill verify {redact(self.output.url)}`.") from None
            raise UsageError(f"SQL: {redact(message)}"[:500]) from None


def _check(connection: "duckdb.DuckDBPyConnection", sql: str) -> None:
    import duckdb

    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise UsageError(f"SQL: {len(statements)} statements; expected one, a SELECT. Ask one question at a time.")
    # EXPLAIN is none: EXPLAIN ANALYZE runs what it explains, and a COPY could then overwrite a label file.
    if statements[0].type is not duckdb.StatementType.SELECT:
        raise UsageError(
            f"SQL: a {statements[0].type.name} statement; expected a SELECT: the table is only read. "
            "To write the answer to a file, give -o FILE."
        )


def _path(url: str) -> str:
    return str(filesystem(url)[1])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _list(texts: Sequence[str]) -> str:
    return "[" + ", ".join(map(_quoted, texts)) + "]"
