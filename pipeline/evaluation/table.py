"""Evaluates a label table on shards with ground truth: segments are painted into class maps. No model is loaded."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskmill.models.errors import UsageError
from maskmill.models.masks import rle
from maskmill.pipeline.content import is_labeled_image, refuse_other_size
from maskmill.pipeline.dataset.walk import told
from maskmill.pipeline.evaluation.confusion import count
from maskmill.pipeline.evaluation.model import ClassMap, truth_of
from maskmill.pipeline.evaluation.scores import Evaluation
from maskmill.pipeline.ledger.status import status
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.shards.moved import UNMOVED, ShardsAt
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.table.footer import FooterError
from maskmill.pipeline.table.label_table import LabelTable, ShardRows
from maskmill.pipeline.table.schema import STATUS_OK
from maskmill.pipeline.truth.class_map import TruthIds
from maskmill.pipeline.truth.pairs import NO_PAIRS, Pair, Source, open_pairs

_COLUMNS = ["key", "sample_index", "status", "sha256", "mask_width", "mask_height", "segments", "masks"]
_ROWS_AT_ONCE = 64


def evaluate_table(
    sources: Iterable[Source],
    output: Output,
    classes: int,
    *,
    truth_ids: TruthIds = "vocabulary",
    limits: ReadLimits = ReadLimits(),
    scratch: Path,
    moved: ShardsAt = UNMOVED,
) -> Evaluation:
    """Hold a label table against the ground truth of its shards.

    Args:
        sources: shards that the table has labels of.
        output: the label table's run.
        classes: size of its vocabulary, whose ids the ground truth uses.
        truth_ids: what the numbers of the ground truth are.
        limits: those that the run was labeled with, so that samples are the same.
        scratch: an existing local folder, for shards that have to be downloaded.
        moved: where shards lie that were labeled elsewhere.

    Returns:
        The evaluation; pixels in no segment, and failed samples whole, count as left unlabeled.

    Raises:
        UsageError: a folder instead of a shard, a shard without labels, one that has changed since it was labeled, one
            that can't be read or a damaged label file.
    """
    counts = np.zeros((classes, classes + 1), np.int64)
    images = failed = 0
    table = LabelTable(output)
    shards = _labeled(sources, output, moved)
    for source, before in shards:
        with told(before):
            refuse_other_size(before, source)
        first = _of_first_version(before, table)
        with open_pairs(source, scratch, limits, ids=truth_ids, first_version=first) as opened:
            for pair, row in _joined(opened.pairs, before, table):
                truth = truth_of(pair, classes, limits)
                labeled = row["status"] == STATUS_OK
                found = painted(row, truth.shape, classes) if labeled else np.full(truth.shape, classes)
                counts += count(truth, found, classes)
                images += 1
                failed += not labeled
    if not images:
        raise UsageError(NO_PAIRS)
    return Evaluation(name="labels", counts=counts, images=images, failed=failed)


def _labeled(sources: Iterable[Source], output: Output, moved: ShardsAt) -> list[tuple[Shard, Shard]]:
    """Each shard as it is now, and as it was when it was labeled; of one without labels only its name."""
    shards = []
    for source in sources:
        if isinstance(source, Path):
            raise UsageError(f"{source}: a folder has no labels. With --labels, name the shards that were labeled.")
        shards.append(source)
    urls = [moved.recorded(shard.url) for shard in shards]
    now = status(output)
    moved.refuse_unused(now.urls("done"))
    sizes = {row.url: row.size for row in now.of(urls).rows("done")}
    return [
        (shard, Shard(url=url, source=shard.source, size=sizes.get(url)))
        for shard, url in zip(shards, urls, strict=True)
    ]


def paint(
    masks: Iterable[NDArray[np.bool_]], ids: Iterable[int], scores: Iterable[float], size: tuple[int, int], classes: int
) -> ClassMap:
    """Segments as one class map; where they overlap the higher score wins, pixels in none get the id `classes`."""
    found = np.full(size, classes, np.int64)
    for _, vocab_id, mask in sorted(zip(scores, ids, masks, strict=True), key=lambda segment: segment[0]):
        found[mask] = vocab_id
    return found


def painted(row: Mapping[str, Any], size: tuple[int, ...], classes: int) -> ClassMap:
    """The segments of a label table's row as one class map, see `paint`.

    Args:
        row: with mask_height, mask_width, segments and masks.
        size: (height, width) of the map; masks of another size are stretched to it.
        classes: the id of pixels in no segment.

    Raises:
        ValueError: a mask is damaged.
    """
    mask_size = (row["mask_height"], row["mask_width"])
    segments = row["segments"]
    found = paint(
        [rle.decode(mask, mask_size) for mask in row["masks"]],
        [segment["vocab_id"] for segment in segments],
        [segment["score"] for segment in segments],
        mask_size,
        classes,
    )
    if mask_size == size:
        return found
    # Masks of large images are stored smaller; the truth keeps its size.
    stretched = Image.fromarray(found.astype(np.int32)).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(stretched)


def _joined(pairs: Iterable[Pair], shard: Shard, table: LabelTable) -> Iterator[tuple[Pair, dict[str, Any]]]:
    """Each pair with its row of the label table; both are in shard order."""
    rows = _rows(shard, table)
    for pair in pairs:
        row = next((row for row in rows if row["sample_index"] == pair.index), None)
        if row is None or not is_labeled_image(pair.key, pair.image.read(), row):
            raise UsageError(
                f"{shard.url}: {pair.key!r}: not the image that was labeled; the shard has changed. Label it again."
            )
        yield pair, row


def _place(shard: Shard, table: LabelTable) -> ShardRows:
    place = table.rows_of(shard.url)
    if place is None:
        raise UsageError(
            f"{shard.url}: no labels of it in {redact(table.output.url)}. Label it there first, leave it out, or name "
            "where it was labeled: --shards-at OLD=NEW."
        )
    return place


def _rows(shard: Shard, table: LabelTable) -> Iterator[dict[str, Any]]:
    place = _place(shard, table)
    with _readable(place.url, table):
        for batch in table.batches(place, _COLUMNS, _ROWS_AT_ONCE):
            yield from batch.to_pylist()


def _of_first_version(shard: Shard, table: LabelTable) -> bool:
    with _readable(_place(shard, table).url, table):
        return table.of_first_version(shard.url)


@contextmanager
def _readable(url: str, table: LabelTable) -> Iterator[None]:
    try:
        yield
    except (FooterError, OSError, ValueError) as error:
        fix = "Make the sealed table again." if table.sealed else "Label the shard again."
        raise UsageError(f"{redact(url)}: damaged: {' '.join(str(error).split())[:200]}. {fix}") from error
