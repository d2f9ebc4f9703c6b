"""The scalars of a batch's segments as NumPy columns: what filters look at, without a mask. What counts isn't asked."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

SCALARS = {
    "vocab_id": np.int32,
    "score": np.float32,
    "margin": np.float32,
    "mask_score": np.float32,
    "stability": np.float32,
    "kept": np.float32,
    "agreement": np.float32,
    "area": np.int32,
}
"""Fields of a segment that are read, and their types; null is NaN."""

LEAVES = tuple(f"segments.list.element.{name}" for name in SCALARS)
"""The same as Parquet's columns."""


def columns_of(batch: pa.RecordBatch) -> tuple[NDArray[np.int64], dict[str, NDArray[np.generic]]]:
    """Of each row how many segments it has, and the segments of all rows, column by column."""
    lengths = pc.fill_null(pc.list_value_length(batch["segments"]), 0).to_numpy().astype(np.int64)
    structs = pc.list_flatten(batch["segments"])
    columns = {
        name: pc.struct_field(structs, name).to_numpy(zero_copy_only=False).astype(kind, copy=False)
        for name, kind in SCALARS.items()
    }
    return lengths, columns
