"""Reads the images of labeled samples in their source shard again, and says whether they are still those."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
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

TRUTH_MEMBER = "seg.png"
"""Extension of the member that holds a sample's ground truth: a class id a pixel."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Original:
    """What the shard holds of a sample."""

    sample_index: int
    """Position in the shard."""

    image: Image.Image | None
    """Upright RGB; None where the bytes cannot be decoded."""

    truth: NDArray[np.integer[Any]] | None
    """[height, width] class ids of the ground truth; None where none was asked for or can be read."""

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
    truth: bool,
    first_version: bool = False,
) -> Iterator[Original]:
    """Samples of one shard in its order, one pass that ends with the last of them; one image in memory at a time.

    Args:
        shard: as `pipeline.shards.shard.describe` gives it.
        scratch: an existing local folder; a shard in a store is fetched into it whole.
        limits: what is refused unread.
        rows: sample_index -> `key` and `sha256` in the label table.
        truth: whether the ground truth is wanted too.
        first_version: whether the rows are the first version's (`LabelTable.of_first_version`).

    Raises:
        ShardError: the shard can't be had or read, or has fewer samples.
    """
    left = set(rows)
    extra = (TRUTH_MEMBER,) if truth else ()
    with open_shard(shard, scratch, limits, extra=extra, first_version=first_version) as opened:
        for sample in opened.samples if left else ():
            if sample.index in left:
                yield _original(sample, limits, rows[sample.index])
                left.discard(sample.index)
                if not left:
                    break
    if left:
        raise ShardError("changed", f"it has no sample {min(left)}")


def _original(sample: Sample, limits: ReadLimits, row: Mapping[str, Any]) -> Original:
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
        truth = _class_map(sample.fields[TRUTH_MEMBER], limits)
        if truth is None:
            notes.append(f"The ground truth ({TRUTH_MEMBER}) is not a PNG of one class id a pixel.")
    return Original(sample_index=sample.index, image=image, truth=truth, same=same, notes=tuple(notes))


def _class_map(data: bytes, limits: ReadLimits) -> NDArray[np.integer[Any]] | None:
    """Ids of an 8-bit (grey or palette) or 16-bit grey PNG; None for anything else."""
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            if image.mode not in ("L", "P", "I;16") or image.width * image.height > limits.max_pixels:
                return None
            ids: NDArray[np.integer[Any]] = np.asarray(image)
            return ids
    except Exception:  # Pillow raises by the dozen of kinds on hostile data; each means the same here
        return None
