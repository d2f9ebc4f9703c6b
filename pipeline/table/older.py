"""Label files of every schema version that is read: their columns, and their rows in today's columns.

One run may hold several versions: a job that an older maskmill began and this one resumes.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from maskmill.pipeline.table.schema import LABELS, SCHEMA_VERSION, SEGMENT

_SINCE = {"agreement": 2}
"""Field of a segment -> the schema version that brought it; the others are as old as the table."""


def _labels(version: int) -> pa.Schema:
    segment = pa.struct([field for field in SEGMENT if _SINCE.get(field.name, 1) <= version])
    place = LABELS.get_field_index("segments")
    return LABELS.set(place, pa.field("segments", pa.list_(segment)))


SCHEMAS: Mapping[int, pa.Schema] = {version: _labels(version) for version in range(1, SCHEMA_VERSION + 1)}
"""Columns of a label file by its schema version."""


def is_labels(schema: pa.Schema) -> bool:
    """Whether these are the label table's columns, of any version."""
    return any(schema.equals(known) for known in SCHEMAS.values())


def current(batch: pa.RecordBatch, columns: Sequence[str] | None = None) -> pa.RecordBatch:
    """Rows of a label file of any version with today's fields: null where the file's version has none.

    Args:
        batch: what was read of the file.
        columns: what was asked for, as Parquet names it (`segments.list.element.score`); None: all. What wasn't asked
            for stays away.
    """
    place = batch.schema.get_field_index("segments")
    if place < 0:
        return batch
    lists = batch.column(place)
    asked = _SINCE if columns is None or "segments" in columns else {name.rpartition(".")[2] for name in columns}
    # Types stay the file's own, down to what Parquet calls a list's elements: digests are over them too.
    there = {field.name: field for field in lists.type.value_type}
    lacking = [name for name in _SINCE if name in asked and name not in there]
    if not lacking:
        return batch
    wanted = pa.struct([there.get(field.name, field) for field in SEGMENT if field.name in (*there, *lacking)])
    # By name, with null for what isn't there; values aren't copied.
    return batch.set_column(place, "segments", lists.cast(pa.list_(lists.type.value_field.with_type(wanted))))
