"""Targets of fixed shape out of labels: a class for every pixel, or a set of masks with padding."""

from dataclasses import dataclass

import torch
from torch import Tensor

from maskmill.models import arguments
from maskmill.pipeline.dataset.sample import LabeledImage

UNLABELED = -100
"""Class of pixels that nothing is known of: what PyTorch's cross-entropy ignores by default."""

NO_CLASS = -1
"""Class id of an empty slot."""

_SAMPLE = "a LabeledImage, as LabeledImages yields them"


def semantic_map(sample: LabeledImage, *, unlabeled: int = UNLABELED) -> Tensor:
    """The class of every pixel; where masks overlap, that of the highest score.

    Args:
        sample: an image with its labels.
        unlabeled: class of pixels in no kept segment.

    Returns:
        int64 [H, W].

    Raises:
        UsageError: an argument of another kind.
    """
    arguments.instance("sample", sample, LabeledImage, _SAMPLE)
    arguments.whole("unlabeled", unlabeled, -(2**63))
    classes = torch.full(sample.image.shape[1:], unlabeled, dtype=torch.int64)
    # Stable, so that equal scores keep the table's order: the first of them is drawn last.
    for place in reversed(sample.scores.argsort(descending=True, stable=True).tolist()):
        classes.masked_fill_(sample.masks[place], int(sample.class_ids[place]))
    return classes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MaskSet:
    """N slots for masks; those left over are empty."""

    masks: Tensor
    """bool [N, H, W]."""

    class_ids: Tensor
    """int64 [N]; `NO_CLASS` in an empty slot."""

    scores: Tensor
    """float32 [N]; 0 in an empty slot."""

    valid: Tensor
    """bool [N], whether a slot holds a mask."""

    ignore: Tensor
    """bool [H, W]: pixels to teach nothing at, those of masks without a slot among them."""


def mask_set(sample: LabeledImage, slots: int) -> MaskSet:
    """The masks of an image in a fixed number of slots, highest scores first.

    Args:
        sample: an image with its labels.
        slots: N; where more segments passed the filter, the lowest scores have no slot and their pixels are ignored.

    Raises:
        UsageError: an argument of another kind, or no slot.
    """
    arguments.instance("sample", sample, LabeledImage, _SAMPLE)
    arguments.whole("slots", slots, 1)
    order = sample.scores.argsort(descending=True, stable=True)
    taken, rest = order[:slots], order[slots:]
    count = len(taken)
    masks = torch.zeros(slots, *sample.image.shape[1:], dtype=torch.bool)
    masks[:count] = sample.masks[taken]
    class_ids = torch.full((slots,), NO_CLASS, dtype=torch.int64)
    class_ids[:count] = sample.class_ids[taken]
    scores = torch.zeros(slots)
    scores[:count] = sample.scores[taken]
    return MaskSet(
        masks=masks,
        class_ids=class_ids,
        scores=scores,
        valid=torch.arange(slots) < count,
        ignore=(sample.ignore | sample.masks[rest].any(0)) & ~masks.any(0),
    )
