"""The figures of the view `classes`, computed when a statement first uses one. The SQL of the view is views.py's."""

from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.ledger import class_ledger
from maskmill.pipeline.ledger.class_ledger import ClassLedger
from maskmill.pipeline.table import segment_sums
from maskmill.pipeline.table.filters import BoundFilter
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.segment_sums import SegmentSums


class Figures:
    """What the ledger tells, and what only the segments' scalars do; each is read once, and only if asked for."""

    def __init__(self, table: LabelTable, vocabulary: Vocabulary, keep: BoundFilter) -> None:
        self._table = table
        self._classes = len(vocabulary)
        self._keep = keep
        self._lock = Lock()
        self._ledger: ClassLedger | None = None
        self._sums: SegmentSums | None = None

    def column(self, name: str, ids: NDArray[Any]) -> pa.Array:
        """A column of `views.FIGURES` for some vocabulary ids; NaN where there is none.

        Raises:
            UsageError: an id that the vocabulary lacks, or a damaged file.
            OutputError: a file can't be read.
        """
        if len(ids) and not 0 <= ids.min() <= ids.max() < self._classes:
            raise UsageError(f"vocab_id beyond {self._classes - 1}: the vocabulary has no such class.")
        with self._lock:
            values = self._values(name)
        return pa.array(values[ids])

    def _values(self, name: str) -> NDArray[Any]:
        plain = not self._keep.floors and not self._keep.min_area
        if name in ("images", "segments") and plain:
            return np.asarray(getattr(self._told(), name))
        sums = self._summed()
        match name:
            case "share":
                return sums.areas / max(sums.pixels, 1)
            case "mean_score":
                return np.where(sums.segments > 0, sums.scores / np.maximum(sums.segments, 1), np.nan)
            case _:
                return np.asarray(getattr(sums, name))

    def _told(self) -> ClassLedger:
        if self._ledger is None:
            self._ledger = class_ledger.read(self._table, self._classes, self._keep.ids)
        return self._ledger

    def _summed(self) -> SegmentSums:
        if self._sums is None:
            files = None if self._keep.every_class else self._told().holding
            self._sums = segment_sums.add_up(self._table, self._classes, keep=self._keep, files=files)
        return self._sums
