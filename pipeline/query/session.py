"""One statement over one run: a locked DuckDB connection, the views it may read, and errors of one line."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.scratch import scratch_folder
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline import run
from maskmill.pipeline.ledger import class_ledger
from maskmill.pipeline.ledger.ledger import SCHEMA as LEDGER_COLUMNS
from maskmill.pipeline.ledger.status import Status
from maskmill.pipeline.ledger.status import status as read_status
from maskmill.pipeline.output import LABEL_SUFFIX, Output
from maskmill.pipeline.query import files, views
from maskmill.pipeline.query.allowed import check, lists_tables
from maskmill.pipeline.query.bounded import Limits, Statement
from maskmill.pipeline.query.figures import Figures
from maskmill.pipeline.query.formats import Answer
from maskmill.pipeline.query.plan import Plan, lock_connection, plan_of
from maskmill.pipeline.stores.publish import is_local
from maskmill.pipeline.stores.urls import filesystem, quoted, redact
from maskmill.pipeline.table import vocabulary_table
from maskmill.pipeline.table.filters import BoundFilter, SegmentFilter
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.schema import LABELS
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run

if TYPE_CHECKING:
    import duckdb

_FAILED = "maskmill.failed_shards"


@contextmanager
def ask(url: str, sql: str, keep: SegmentFilter = SegmentFilter(), *, limits: Limits = Limits()) -> Iterator[Answer]:
    """Run one SQL statement over a run. Its views are those of `pipeline.query.views`.

    Only queries run (`pipeline.query.allowed`), on a connection in memory that opens no file and loads no extension:
    Arrow reads the views' files for it. Where every reading of `segments` is bounded to some classes, by `keep` or by
    the statement (class = 'zebra', class IN (...)), only the label files that hold one of them are opened; `failures`
    opens those that hold a failed sample. The ledger tells which.

    Args:
        url: OUT of the run.
        sql: one statement in DuckDB's dialect.
        keep: which segments `segments` and `classes` show.
        limits: memory of DuckDB, and how long it may take.

    Yields:
        The answer, good inside the `with`.

    Raises:
        UsageError: OUT has no label files, the filter doesn't fit, or the statement is not one, not allowed, not right,
            or takes more than `limits`; also while rows are taken.
        OutputError: a file can't be read.
    """
    import duckdb

    check(sql)
    if lists_tables(sql):
        sql = views.TABLES
    session = _Session(Output.of(url), keep)
    with scratch_folder() as scratch, session.one_line_errors(scratch, limits):
        connection = duckdb.connect(":memory:", config={"autoload_known_extensions": False})
        with Statement(connection, limits.seconds) as statement:
            session.lock(connection, scratch, limits)
            session.open_views(connection, plan_of(sql, limits))
            reader = statement.call(lambda: _reader(connection.sql(sql)))
            answer = Answer.of(reader.schema, _batches(reader, statement))
            yield replace(answer, incomplete=session.table.incomplete)


def _reader(relation: Any) -> pa.RecordBatchReader:
    # DuckDB 1.4 has it by another name, which later ones are about to drop.
    read = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
    return read(1024)


def _batches(reader: pa.RecordBatchReader, statement: Statement) -> Iterator[pa.RecordBatch]:
    while (batch := statement.call(lambda: next(reader, None))) is not None:
        yield batch


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

    def lock(self, connection: "duckdb.DuckDBPyConnection", scratch: Path, limits: Limits) -> None:
        """No path, no extension, no change of settings after this; what doesn't fit into memory goes to `scratch`."""
        lock_connection(
            connection,
            limits,
            {
                "temp_directory": _quoted(str(scratch)),
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
        """Name of a table of the rows of some files; `schema` is `LABELS` for label files, of any version."""
        if self.sizes is None and not is_local(self.output.url):
            listed = self.output.label_files().items()
            self.sizes = {self.output.label(name.removesuffix(LABEL_SUFFIX)): n for name, n in listed if n is not None}
        name = f"maskmill_rows_{self.made}"
        self.made += 1
        connection.register(name, files.rows_of(urls, schema, self.sizes or {}, self.failures))
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
    def one_line_errors(self, scratch: Path, limits: Limits) -> Iterator[None]:
        import duckdb

        try:
            yield
        except (duckdb.Error, pa.ArrowException, MemoryError) as error:
            if self.failures:
                raise self.failures[0] from None
            # DuckDB repeats the statement with a caret below the message; a command's error is one line.
            message = " ".join(str(error).split("\n\nLINE ")[0].split())
            if isinstance(error, duckdb.OutOfMemoryException | MemoryError) or "std::bad_alloc" in message:
                raise UsageError(
                    f"SQL: it takes more than {limits.bytes / 1e9:.1f} GB of memory. Ask for less at once, or give it "
                    "more: --memory 16GB."
                ) from None
            if "No space left" in message or (isinstance(error, duckdb.IOException) and str(scratch) in message):
                raise EnvironmentFailure(
                    f"{scratch.parent}: no room for what doesn't fit into memory ({message[:200]}). Free space, "
                    "name another place in TMPDIR, or give --memory."
                ) from None
            if not isinstance(error, duckdb.Error | pa.ArrowInvalid):
                raise
            if self.output.labels in message and not isinstance(error, duckdb.PermissionException):
                raise UsageError(f"{redact(message)[:400]}. Run `maskmill verify {quoted(self.output.url)}`.") from None
            raise UsageError(f"SQL: {redact(message)}"[:500]) from None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
