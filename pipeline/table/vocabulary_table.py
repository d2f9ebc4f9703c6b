"""The vocabulary of a run as an Arrow table: what OUT/vocabulary.parquet holds. Writing it is the run's part."""

import pyarrow as pa

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary.checks import Draft, checked
from maskmill.models.vocabulary.vocabulary import Vocabulary
from maskmill.pipeline import parquet, run
from maskmill.pipeline.output import Output
from maskmill.pipeline.stores.urls import redact

VOCABULARY = pa.schema(
    [
        pa.field("vocab_id", pa.int32(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("synonyms", pa.list_(pa.string()), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("kind", pa.string()),
    ]
)
"""One row a class, in id order; `kind` is thing, stuff or null."""


def vocabulary_of_run(output: Output) -> Vocabulary:
    """The vocabulary that a label table's ids belong to.

    Raises:
        UsageError: there is no run, or its vocabulary is damaged or another run's.
        OutputError: it can't be read.
    """
    fix = "Expected the --output of a `maskmill label`."
    table = parquet.read(output.vocabulary, VOCABULARY, fix=fix)
    if table is None:
        raise UsageError(f"{redact(output.url)}: no vocabulary.parquet there. {fix}")
    vocabulary = from_table(table, shown=redact(output.vocabulary))
    recorded = run.read(output)
    expected = None if recorded is None else recorded["identity"].get("vocabulary")
    if expected is not None and vocabulary.hash != expected:
        raise UsageError(
            f"{redact(output.vocabulary)}: another vocabulary than run.json's (hash {vocabulary.hash[:16]}, expected "
            f"{str(expected)[:16]}): ids would get wrong names. Restore it from a copy; the same `maskmill label` "
            "writes it anew, unless the table is sealed."
        )
    return vocabulary


def to_table(vocabulary: Vocabulary) -> pa.Table:
    """The vocabulary's entries as a table of schema `VOCABULARY`."""
    columns = {
        "vocab_id": [entry.vocab_id for entry in vocabulary],
        "name": [entry.name for entry in vocabulary],
        "synonyms": [list(entry.synonyms) for entry in vocabulary],
        "source": [entry.source for entry in vocabulary],
        "kind": [entry.kind for entry in vocabulary],
    }
    return pa.table(columns, schema=VOCABULARY)


def from_table(table: pa.Table, *, shown: str = "vocabulary.parquet") -> Vocabulary:
    """The vocabulary that `to_table` wrote, checked as a file from elsewhere; messages begin with `shown`.

    Raises:
        UsageError: other columns, ids that aren't 0 to N-1 in order, or names that break the rules of `checks.checked`.
    """
    if table.column_names != VOCABULARY.names:
        raise UsageError(f"{shown}: columns {', '.join(table.column_names)}; expected {', '.join(VOCABULARY.names)}.")
    try:
        rows = table.cast(VOCABULARY).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise UsageError(f"{shown}: not a vocabulary: {' '.join(str(error).split())[:200]}") from None
    if [row["vocab_id"] for row in rows] != list(range(len(rows))):
        raise UsageError(f"{shown}: ids aren't 0 to {len(rows) - 1} in order; expected the file as a run wrote it.")
    if any(row[name] is None for row in rows for name in ("name", "synonyms", "source")) or any(
        synonym is None for row in rows for synonym in row["synonyms"]
    ):
        raise UsageError(
            f"{shown}: null where a name, a source or synonyms belong; expected the file as a run wrote it."
        )
    drafts = [
        Draft(
            place=f"id {row['vocab_id']}",
            name=row["name"],
            synonyms=tuple(row["synonyms"]),
            kind=row["kind"],
            source=row["source"],
        )
        for row in rows
    ]
    return checked(drafts, shown=shown)
