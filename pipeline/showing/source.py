"""Reads the images of labeled samples in their source shard again, and says whether they are still those."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskmill.pipeline.content import is_labeled_image
from maskmill.pipeline.reading.errors import SampleError, ShardError
from maskmill.pipeline.reading.images import decode_sample
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.open import open_shard
from maskmill.pipeline.reading.samples import Sample
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.truth.class_map import TruthIds, decode_class_map
from maskmill.pipeline.truth.pairs import TRUTH_MEMBER


@dataclass(frozen=True, kw_only=True, slots=True)
class TruthFormat:
    """What the numbers of a ground truth are."""

    classes: int
    """Size of the vocabulary that they are ids of."""

    ids: TruthIds = "vocabulary"
    """Whether they are its ids themselves, or COCO-Stuff's own."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Original:
    """What the shard holds of a sample."""

    sample_index: int
    """Position in the shard."""

    image: Image.Image | None
    """Upright RGB; None where the bytes cannot be decoded."""

    truth: NDArray[np.int32] | None
    """[height, width] class ids of the ground truth, negative where it has none; None without a ground truth."""

    same: bool
    """Whether these are the bytes and the key that were labeled."""

    notes: tuple[str, ...]
    """What somebody looking at the picture has to know."""


def originals(
    shard: Shard,
    scratch: Path,
    limits: ReadLimits,
    rows: Mapping[int, Mapping[str, Any]],
    *,
    truth: TruthFormat,
    first_version: bool = False,
) -> Iterator[Original]:
    """Samples of one shard in its order, one pass that ends with the last of them; one image in memory at a time.

    Args:
        shard: as `pipeline.shards.shard.describe` gives it.
        scratch: an existing local folder; a shard in a store is fetched into it whole.
        limits: what is refused unread.
        rows: sample_index -> `key` and `sha256` in the label table.
        truth: how the ground truth is read, where samples have one.
        first_version: whether the rows are the first version's (`LabelTable.of_first_version`).

    Raises:
        ShardError: the shard can't be had or read, or has fewer samples.
    """
    left = set(rows)
    with open_shard(shard, scratch, limits, extra=(TRUTH_MEMBER,), first_version=first_version) as opened:
        for sample in opened.samples if left else ():
            if sample.index in left:
                yield _original(sample, limits, rows[sample.index], truth)
                left.discard(sample.index)
                if not left:
                    break
    if left:
        raise ShardError("changed", f"it has no sample {min(left)}")


def _original(sample: Sample, limits: ReadLimits, row: Mapping[str, Any], form: TruthFormat) -> Original:
    notes: list[str] = []
    same = is_labeled_image(sample.key, sample.image, row)
    if not same:
        notes.append("The shard has changed since it was labeled: this is not the image that the masks belong to.")
    image, truth = None, None
    try:
        image = decode_sample(sample, limits)
    except SampleError as error:
        notes.append(f"The image cannot be decoded: {error}")
    if TRUTH_MEMBER in sample.fields:
        try:
            truth = decode_class_map(sample.fields[TRUTH_MEMBER], form.classes, limits, form.ids)
        except SampleError as error:
            notes.append(f"The ground truth ({TRUTH_MEMBER}) can't be used: {error.detail}.")
        if truth is not None and image is not None and truth.shape != (image.height, image.width):
            size = f"{truth.shape[1]} x {truth.shape[0]}"
            notes.append(f"The ground truth ({TRUTH_MEMBER}) is not of the image's size: it has {size} pixels.")
            truth = None
    return Original(sample_index=sample.index, image=image, truth=truth, same=same, notes=tuple(notes))
