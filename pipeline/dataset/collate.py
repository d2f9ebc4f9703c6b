"""Samples to a batch, in the form that Mask2Former-like trainers take."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import torch
from torch.nn import functional

from maskmill.models import arguments
from maskmill.models.errors import UsageError
from maskmill.pipeline.dataset.sample import LabeledImage

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels, in [0, 1]: what published backbones expect."""

_OVERSHOOT = 0.2
"""By how much a resized image may leave [0, 1] at sharp edges."""


class Batch(TypedDict):
    """B images of one padded size [H, W]; the names are those of Hugging Face's Mask2Former."""

    pixel_values: torch.Tensor
    """float32 [B, 3, H, W], normalised, 0 in the padding."""

    pixel_mask: torch.Tensor
    """int64 [B, H, W], 1 in the image."""

    mask_labels: list[torch.Tensor]
    """B masks [K, H, W]: bool beside `ignore_mask`, else float32."""

    class_labels: list[torch.Tensor]
    """B times int64 [K], vocabulary ids."""

    ignore_mask: NotRequired[torch.Tensor]
    """bool [B, H, W]: pixels that teach nothing, those of dropped segments and the padding."""

    skipped: NotRequired[int]
    """Images without a mask, which were left out."""


def collate(
    samples: Sequence[LabeledImage],
    *,
    multiple: int = 32,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    ignore: bool = True,
) -> Batch:
    """A batch for `mask2former_loss`, which leaves ignored pixels out.

    Images without a mask teach nothing and are skipped, so that a batch may be smaller than the DataLoader's. If no
    image has one, the first comes with all its pixels ignored: all ranks have a batch in every step.

    Args:
        samples: images; they are padded right and bottom to the largest of them. uint8, or float in [0, 1].
        multiple: padded sides are multiples of this, in pixels.
        mean: of each channel, in [0, 1].
        std: of each channel, in [0, 1].
        ignore: False gives exactly the arguments of Mask2Former and MaskFormer, `model(**batch)`. Their own losses
            take ignored pixels for background.

    Raises:
        UsageError: no samples, an argument of another kind, or images that were normalised already.
    """
    arguments.sequence("samples", samples, LabeledImage, "a list of LabeledImages, at least one")
    arguments.whole("multiple", multiple, 1)
    _check_channels("mean", mean)
    _check_channels("std", std)
    arguments.flag("ignore", ignore)
    if any(mean) or any(one != 1 for one in std):
        _refuse_normalized(samples)
    taught = [sample for sample in samples if len(sample.masks)]
    shown = taught or samples[:1]
    height, width = (-(-max(sample.image.shape[axis] for sample in shown) // multiple) * multiple for axis in (1, 2))

    def padded(tensor: torch.Tensor, value: float = 0.0) -> torch.Tensor:
        return functional.pad(tensor, (0, width - tensor.shape[-1], 0, height - tensor.shape[-2]), value=value)

    shift, scale = (torch.tensor(numbers)[:, None, None] for numbers in (mean, std))
    batch: Batch = {
        "pixel_values": torch.stack([padded((_unit(sample.image) - shift) / scale) for sample in shown]),
        "pixel_mask": torch.stack([padded(torch.ones(sample.image.shape[1:], dtype=torch.int64)) for sample in shown]),
        "mask_labels": [padded(sample.masks if ignore else sample.masks.float()) for sample in shown],
        "class_labels": [sample.class_ids for sample in shown],
    }
    if ignore:
        ignored = [padded(sample.ignore, True) for sample in shown]
        batch["ignore_mask"] = torch.stack(ignored) if taught else torch.ones(1, height, width, dtype=torch.bool)
        batch["skipped"] = len(samples) - len(taught)
    return batch


def _unit(image: torch.Tensor) -> torch.Tensor:
    return image if image.is_floating_point() else image / 255.0


def _refuse_normalized(samples: Sequence[LabeledImage]) -> None:
    for sample in samples:
        if not sample.image.is_floating_point() or not sample.image.numel():
            continue
        least, most = (float(bound) for bound in sample.image.aminmax())
        if not -_OVERSHOOT <= least <= most <= 1 + _OVERSHOOT:
            raise UsageError(
                f"samples: an image from {least:.3g} to {most:.3g}, expected uint8, or float in [0, 1]. Leave "
                "Normalize out of the transform, or pass mean=(0, 0, 0), std=(1, 1, 1)."
            )


def _check_channels(name: str, values: Sequence[float]) -> None:
    if not isinstance(values, Sequence) or len(values) != 3 or (name == "std" and not all(values)):
        raise UsageError(f"{name}={values!r}: expected a number for each of 3 channels, in [0, 1]; std above 0.")
    for value in values:
        arguments.number(name, value)
