"""Searches a label table for samples with a segment that passes a filter, in the table's order. It opens no image."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from maskmill.models.errors import UsageError
from maskmill.pipeline.ledger import class_ledger
from maskmill.pipeline.output import Output
from maskmill.pipeline.showing.lookup import Place
from maskmill.pipeline.stores.urls import filesystem, redact
from maskmill.pipeline.table.filters import BoundFilter
from maskmill.pipeline.table.footer import FooterError
from maskmill.pipeline.table.label_table import LabelTable, ShardRows
from maskmill.pipeline.table.segment_columns import LEAVES, columns_of

_COLUMNS = ["shard", "sample_index", *LEAVES]
_ROWS_AT_ONCE = 1024


def search(output: Output, keep: BoundFilter | None, *, classes: int) -> Iterator[Place]:
    """Samples with at least one passing segment; files of which the ledger says that they hold no such class stay shut.

    Args:
        output: of the run.
        keep: the filter; None: every sample is one.
        classes: size of the run's vocabulary.

    Raises:
        UsageError: no label files, or one that's damaged.
        OutputError: the store doesn't answer.
    """
    table = LabelTable(output)
    files = table.files
    if keep is not None and not keep.every_class:
        files = list(class_ledger.read(table, classes, keep.ids).holding)
    for url in files:
        try:
            for batch in table.batches(ShardRows(url=url, first=0, count=None), _COLUMNS, _ROWS_AT_ONCE):
                yield from _places(batch, keep, filesystem(url)[1])
        except (FooterError, FileNotFoundError, ValueError, pa.ArrowException) as error:
            raise UsageError(f"{redact(url)}: damaged: {str(error)[:200]}. `maskmill verify OUT` says more.") from error


def _places(batch: pa.RecordBatch, keep: BoundFilter | None, file: str) -> Iterator[Place]:
    rows = np.arange(batch.num_rows)
    if keep is not None:
        lengths, columns = columns_of(batch)
        rows = np.unique(np.repeat(rows, lengths)[keep.passing(columns)])
    for row in batch.select(["shard", "sample_index"]).take(pa.array(rows)).to_pylist():
        yield Place(file=file, shard=row["shard"], source=row["shard"], sample_index=row["sample_index"])
