"""A run's labeled images as a Ray Data set, for training on Ray Train. What a sample is stands in pipeline/dataset."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from maskmill.pipeline import run
from maskmill.pipeline.dataset.reader import done_shards
from maskmill.pipeline.dataset.sample import LabeledImage
from maskmill.pipeline.dataset.walk import Walk
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards.moved import ShardsAt
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores import stores
from maskmill.pipeline.stores.stores import Stores
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.table.label_table import LabelTable

SAMPLES = 16
"""Samples in a block, so that a consumer begins before a shard is through."""

_SHARD = pa.schema([("url", pa.string()), ("source", pa.string()), ("size", pa.int64()), ("etag", pa.string())])


def labeled_images(
    output: str,
    *,
    keep: SegmentFilter = SegmentFilter(),
    shards: Sequence[str] | None = None,
    scratch: Path | None = None,
    shards_at: Mapping[str, str] | None = None,
) -> "ray.data.Dataset":
    """The labeled samples of a run, each once; every shard is a task that reads it beside its label file.

    Columns: image uint8 [3, H, W]; masks bool [K, H, W]; class_ids int64 [K]; scores float32 [K]; ignore bool [H, W];
    key, shard, sample_index, caption; soft_masks float32 [K, h, w] where the run stored them. As in `LabeledImage`.

    Args:
        output: --output of a `label`.
        keep: which segments count.
        shards: sources of the shards to read, as `label` takes them; all done ones if None.
        scratch: local folder on every machine for shards that lie in a store; the system's temporary folder if None.
        shards_at: folders or URLs that shards were labeled in, and where they lie now.

    Raises:
        UsageError: no run there, no done shard, a filter that doesn't fit the run; in a task, a shard that isn't the
            one that was labeled.
    """
    there = Output.of(output)
    walk = Walk.of(there, keep, Path(tempfile.gettempdir()) if scratch is None else scratch)
    found, _ = done_shards(there, shards, ShardsAt.of(shards_at or {}))
    table = pa.Table.from_pylist([{name: getattr(shard, name) for name in _SHARD.names} for shard in found], _SHARD)
    soft = bool(run.require(there)["identity"].get("soft_masks"))
    read = partial(_read, output=there, walk=walk, soft=soft, options=stores.used())
    # Blocks are tasks: one row a block is one shard a task.
    tasks = ray.data.from_arrow(table).repartition(target_num_rows_per_block=1)
    return tasks.map_batches(read, batch_size=None, batch_format="pyarrow")


def _read(tasks: Any, *, output: Output, walk: Walk, soft: bool, options: Stores) -> Iterator[dict[str, Any]]:
    stores.use(options)
    table = LabelTable(output)
    for record in tasks.to_pylist():
        with closing(walk.samples(table, Shard(**record))) as samples:
            while some := list(islice(samples, SAMPLES)):
                yield _columns([walk.decoded(raw) for raw in some], soft=soft)


def _columns(samples: Sequence[LabeledImage], *, soft: bool) -> dict[str, Any]:
    """Samples as columns, the same ones in every block; `soft`: whether the run stored soft masks."""
    tensors = ("image", "masks", "class_ids", "scores", "ignore")
    columns: dict[str, Any] = {name: _ragged([getattr(sample, name).numpy() for sample in samples]) for name in tensors}
    if soft:
        # A sample without segments has none.
        nothing = np.zeros((0, 1, 1), np.float32)
        found = [nothing if sample.soft_masks is None else sample.soft_masks.numpy() for sample in samples]
        columns["soft_masks"] = _ragged(found)
    return columns | {
        name: [getattr(sample, name) for sample in samples] for name in ("key", "shard", "sample_index", "caption")
    }


def _ragged(arrays: Sequence[Any]) -> Any:
    """Arrays of differing shapes as one column; numpy alone would try to stack them."""
    column = np.empty(len(arrays), object)
    for place, array in enumerate(arrays):
        column[place] = array
    return column
