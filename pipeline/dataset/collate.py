"""Samples to a batch, in the form that Mask2Former-like trainers take."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from maskmill.models import arguments
from maskmill.models.errors import UsageError
from maskmill.pipeline.dataset.sample import LabeledImage

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels, in [0, 1]: what published backbones expect."""


def collate(
    samples: Sequence[LabeledImage],
    *,
    multiple: int = 32,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    ignore: bool = False,
) -> dict[str, Any]:
    """A batch whose keys are the arguments of Hugging Face's Mask2Former and MaskFormer: `model(**batch)`.

    Args:
        samples: B images; they are padded right and bottom to the largest of them.
        multiple: padded sides are multiples of this, in pixels.
        mean: of each channel, in [0, 1].
        std: of each channel, in [0, 1].
        ignore: also give `ignore_mask`, bool [B, H, W]: dropped segments and padding. Those models don't take it; a
            loss that leaves pixels out does.

    Returns:
        pixel_values float32 [B, 3, H, W], normalised, 0 in the padding; pixel_mask int64 [B, H, W], 1 in the image;
        mask_labels, B tensors float32 [K, H, W]; class_labels, B tensors int64 [K].

    Raises:
        UsageError: no samples, or an argument of another kind.
    """
    arguments.sequence("samples", samples, LabeledImage, "a list of LabeledImages, at least one")
    arguments.whole("multiple", multiple, 1)
    _check_channels("mean", mean)
    _check_channels("std", std)
    arguments.flag("ignore", ignore)
    height, width = (-(-max(sample.image.shape[axis] for sample in samples) // multiple) * multiple for axis in (1, 2))

    def padded(tensor: torch.Tensor, value: float = 0.0) -> torch.Tensor:
        return functional.pad(tensor, (0, width - tensor.shape[-1], 0, height - tensor.shape[-2]), value=value)

    shift, scale = (torch.tensor(numbers)[:, None, None] for numbers in (mean, std))
    batch: dict[str, Any] = {
        "pixel_values": torch.stack([padded((sample.image / 255.0 - shift) / scale) for sample in samples]),
        "pixel_mask": torch.stack(
            [padded(torch.ones(sample.image.shape[1:], dtype=torch.int64)) for sample in samples]
        ),
        "mask_labels": [padded(sample.masks.float()) for sample in samples],
        "class_labels": [sample.class_ids for sample in samples],
    }
    if ignore:
        batch["ignore_mask"] = torch.stack([padded(sample.ignore.float(), 1.0).bool() for sample in samples])
    return batch


def _check_channels(name: str, values: Sequence[float]) -> None:
    if not isinstance(values, Sequence) or len(values) != 3 or (name == "std" and not all(values)):
        raise UsageError(f"{name}={values!r}: expected a number for each of 3 channels, in [0, 1]; std above 0.")
    for value in values:
        arguments.number(name, value)
