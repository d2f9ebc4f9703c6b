"""One image with its labels as tensors: what the training reader yields. Which segments count is the filter's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maskmill.models.errors import UsageError
from maskmill.models.masks import rle
from maskmill.pipeline.table.filters import BoundFilter

SOFT_SCALE = 16.0 / 127.0
"""Logit of one step of a stored soft mask."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabeledImage:
    """One labeled sample: K segments passed the filter."""

    image: Tensor
    """uint8 [3, H, W], RGB, channels last in memory, as decoders give it, at mask size: the image's own, scaled down to
    the run's `--mask-side` where larger."""

    masks: Tensor
    """bool [K, H, W]; in `queries` form they may overlap."""

    class_ids: Tensor
    """int64 [K], vocabulary ids."""

    scores: Tensor
    """float32 [K], softmax probability of the class."""

    ignore: Tensor
    """bool [H, W]: pixels of segments that the filter dropped, where no kept segment lies. Teach nothing there."""

    soft_masks: Tensor | None
    """float32 [K, h, w], mask logits at the model's stride; None where the run stored none."""

    key: str
    """webdataset's `__key__`."""

    shard: str
    """Canonical URL."""

    sample_index: int
    """Position in the shard."""

    caption: str | None
    """Caption, if the sample has one."""

    @property
    def labeled(self) -> Tensor:
        """bool [H, W]: pixels of some kept segment."""
        return self.masks.any(0)


def labeled_image(image: Image.Image, row: Mapping[str, Any], keep: BoundFilter) -> LabeledImage:
    """A decoded image and its row of the label table, as tensors.

    Args:
        image: upright, RGB.
        row: of a labeled sample.
        keep: which segments count.

    Raises:
        UsageError: the image hasn't the size that was labeled, or a mask is damaged.
    """
    if (image.width, image.height) != (row["width"], row["height"]):
        raise _wrong(row, f"the image is {image.width}x{image.height}, {row['width']}x{row['height']} was labeled")
    size = (row["mask_height"], row["mask_width"])
    if not (1 <= size[0] <= image.height and 1 <= size[1] <= image.width):
        raise _wrong(row, f"masks of {size[1]}x{size[0]}, which is no scaled down {image.width}x{image.height}")
    if (image.height, image.width) != size:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    kept = [keep.keeps(segment) for segment in row["segments"]]
    chosen = torch.tensor(kept, dtype=torch.bool)
    try:
        every = torch.from_numpy(rle.decode_all(row["masks"], size))
        masks, dropped = (every, None) if all(kept) else (every[chosen], every[~chosen])
    except (ValueError, IndexError) as error:
        raise _wrong(row, str(error)) from error
    segments = [segment for segment, passes in zip(row["segments"], kept, strict=True) if passes]
    return LabeledImage(
        image=torch.from_numpy(np.array(image)).permute(2, 0, 1),
        masks=masks,
        class_ids=torch.tensor([segment["vocab_id"] for segment in segments], dtype=torch.int64),
        scores=torch.tensor([segment["score"] for segment in segments], dtype=torch.float32),
        # Looking for pixels costs as much as a mask, and most filters drop little.
        ignore=torch.zeros(size, dtype=torch.bool) if dropped is None else dropped.any(0) & ~masks.any(0),
        soft_masks=_soft(row, chosen),
        key=row["key"],
        shard=row["shard"],
        sample_index=row["sample_index"],
        caption=row["caption"],
    )


def _soft(row: Mapping[str, Any], chosen: Tensor) -> Tensor | None:
    if row["mask_logits"] is None:
        return None
    shape = (len(row["mask_logits"]), row["logit_height"], row["logit_width"])
    steps = np.frombuffer(b"".join(row["mask_logits"]), np.int8)
    if steps.size != shape[0] * shape[1] * shape[2] or shape[0] != len(chosen):
        raise _wrong(row, f"{steps.size} mask logits, expected {shape}")
    return torch.from_numpy(steps.reshape(shape).astype(np.float32) * np.float32(SOFT_SCALE))[chosen]


def _wrong(row: Mapping[str, Any], what: str) -> UsageError:
    return UsageError(
        f"{row['shard']}: sample {row['sample_index']} ({row['key'][:80]!r}): {what}. "
        "Check the table with `maskmill verify OUT --deep`, and label the shard again."
    )
