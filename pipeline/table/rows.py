"""Rows of the label table on their way to Arrow, column by column; no type is ever inferred from data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pyarrow as pa

from maskmill.models.segment import Segment
from maskmill.pipeline.table.schema import LABELS, SEGMENT, STATUS_FAILED, STATUS_OK

_ROW_BYTES = 200
_SEGMENT_BYTES = 160


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelRow:
    """One sample, labeled or failed."""

    key: str
    """webdataset's `__key__`."""

    sample_index: int
    """Position in the shard, from 0."""

    error: str | None = None
    """`REASON: detail` of a failed sample; None if it was labeled."""

    warnings: tuple[str, ...] = ()
    """Fixed words about what was odd."""

    members: tuple[str, ...] = ()
    """Extensions of the sample's members. No column: it is for the record of a failed shard."""

    sha256: bytes | None = None
    """Digest of the image bytes; None if there are none."""

    size: tuple[int, int] | None = None
    """Height, width of the image after EXIF rotation; None if it was never known."""

    mask_size: tuple[int, int] | None = None
    """Height, width of the masks."""

    caption: str | None = None
    """Caption, if the sample has one."""

    segments: tuple[Segment, ...] | None = None
    """What was found; None if the sample failed."""

    @property
    def bytes(self) -> int:
        """About how much Arrow memory the row takes."""
        payload = sum(
            len(segment.rle) + (0 if segment.mask_logits is None else segment.mask_logits.size)
            for segment in self.segments or ()
        )
        return _ROW_BYTES + len(self.caption or "") + payload + _SEGMENT_BYTES * len(self.segments or ())


def _lists(rows: Sequence[Sequence[Any] | None], values: pa.Array) -> pa.Array:
    """A list array over flat `values`: as many to a row as it is long, null where a row is None."""
    offsets = [0, *accumulate(0 if row is None else len(row) for row in rows)]
    missing = pa.array([row is None for row in rows], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=pa.list_(values.type), mask=missing)


def _segments(segments: Sequence[Segment]) -> pa.StructArray:
    columns = []
    for field in SEGMENT:
        values = [getattr(segment, field.name) for segment in segments]
        if pa.types.is_list(field.type):
            flat = pa.array([item for value in values for item in value], field.type.value_type)
            columns.append(_lists(values, flat))
        else:
            columns.append(pa.array(values, field.type))
    return pa.StructArray.from_arrays(columns, fields=list(SEGMENT))


def to_table(shard: str, rows: Sequence[LabelRow]) -> pa.Table:
    """Rows of one shard as a table of the label schema.

    Args:
        shard: canonical URL.
        rows: in shard order.
    """
    found = [row.segments for row in rows]
    flat = [segment for segments in found for segment in segments or ()]
    soft = [
        None
        if segments is None or any(segment.mask_logits is None for segment in segments) or not segments
        else segments
        for segments in found
    ]
    grids = [None if segments is None else segments[0].mask_logits for segments in soft]
    columns: dict[str, pa.Array] = {
        "key": [row.key for row in rows],
        "shard": [shard] * len(rows),
        "sample_index": [row.sample_index for row in rows],
        "status": [STATUS_OK if row.error is None else STATUS_FAILED for row in rows],
        "error": [row.error for row in rows],
        "warnings": _lists([row.warnings for row in rows], _strings(word for row in rows for word in row.warnings)),
        "sha256": [row.sha256 for row in rows],
        "width": [None if row.size is None else row.size[1] for row in rows],
        "height": [None if row.size is None else row.size[0] for row in rows],
        "mask_width": [None if row.mask_size is None else row.mask_size[1] for row in rows],
        "mask_height": [None if row.mask_size is None else row.mask_size[0] for row in rows],
        "caption": [row.caption for row in rows],
        "candidates": [None] * len(rows),
        "segments": _lists(found, _segments(flat)),
        "masks": _lists(found, pa.array([segment.rle for segment in flat], pa.binary())),
        "logit_width": [None if grid is None else grid.shape[1] for grid in grids],
        "logit_height": [None if grid is None else grid.shape[0] for grid in grids],
        "mask_logits": _lists(
            soft,
            pa.array(
                [s.mask_logits.tobytes() for row in soft for s in row or () if s.mask_logits is not None], pa.binary()
            ),
        ),
    }
    return pa.Table.from_arrays(
        [
            column if isinstance(column, pa.Array) else pa.array(column, field.type)
            for field, column in ((field, columns[field.name]) for field in LABELS)
        ],
        schema=LABELS,
    )


def _strings(words: Iterable[str]) -> pa.Array:
    return pa.array(list(words), pa.string())
