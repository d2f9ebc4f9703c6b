"""Mask2Former's loss for Hugging Face's model, with ignored pixels left out. The model is the caller's."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from maskmill.models.errors import UsageError
from maskmill.models.san.criterion import LossCounts, losses
from maskmill.models.san.loss_config import LossConfig
from maskmill.models.san.model import SanOutput
from maskmill.models.san.point_sampling import Draw
from maskmill.models.san.targets import Target
from maskmill.pipeline.dataset.collate import Batch


class Output(Protocol):
    """What of the output of transformers' Mask2FormerForUniversalSegmentation is read."""

    class_queries_logits: Any
    """[B, Q, N + 1], no object last."""

    masks_queries_logits: Any
    """[B, Q, h, w]."""

    auxiliary_logits: Any
    """The same of each earlier decoder layer, as a list of dicts; None unless the model is called for them."""


class Numbers(Protocol):
    """What of transformers' Mask2FormerConfig is read."""

    class_weight: Any
    mask_weight: Any
    dice_weight: Any
    no_object_weight: Any
    train_num_points: Any
    oversample_ratio: Any
    importance_sample_ratio: Any
    use_auxiliary_loss: Any


def mask2former_loss(output: Output, batch: Batch, config: Numbers) -> Tensor:
    """The sum of Mask2Former's losses over its decoder layers, as a scalar; `config` says how they weigh.

    What the model's own loss is, but for the pixels of `ignore_mask`: no matching and no mask loss looks at them, and a
    query more than half of whose mask lies there isn't taught to be no object. Random points are drawn from torch's
    generator. Where torch.distributed is initialised, all ranks call this: losses are divided by means over them.

    Args:
        output: `model(pixel_values=..., output_auxiliary_logits=True)`.
        batch: what `collate` gives, on the output's device; `pixel_values` is what the output was computed from.
        config: the model's.

    Raises:
        UsageError: the batch has no `ignore_mask`, or the output has no logits of earlier layers and
            `config.use_auxiliary_loss` needs them.
    """
    if "ignore_mask" not in batch:
        raise UsageError("mask2former_loss: the batch has no ignore_mask. Use collate without ignore=False.")
    earlier: Sequence[Mapping[str, Tensor]] = output.auxiliary_logits or ()
    if config.use_auxiliary_loss and not earlier:
        raise UsageError(
            "mask2former_loss: the output has no auxiliary_logits, which config.use_auxiliary_loss needs. Call the "
            "model with output_auxiliary_logits=True."
        )
    layers = [*earlier] if config.use_auxiliary_loss else []
    layers.append({name: getattr(output, name) for name in ("masks_queries_logits", "class_queries_logits")})
    depths = [
        SanOutput(mask_logits=layer["masks_queries_logits"], class_logits=layer["class_queries_logits"])
        for layer in layers
    ]
    targets = [
        Target(masks=masks, class_ids=class_ids, ignore=ignore)
        for masks, class_ids, ignore in zip(
            batch["mask_labels"], batch["class_labels"], batch["ignore_mask"], strict=True
        )
    ]
    weights = LossConfig(
        class_weight=config.class_weight,
        mask_weight=config.mask_weight,
        dice_weight=config.dice_weight,
        no_object_weight=config.no_object_weight,
        points=config.train_num_points,
        oversample=config.oversample_ratio,
        importance=config.importance_sample_ratio,
    )
    queries, device = depths[-1].mask_logits.shape[1], depths[-1].mask_logits.device
    counts = _mean_over_ranks(LossCounts.of(targets, queries, weights), device)
    return losses(depths, targets, _Random(device), weights, counts=counts).total


class _Random:
    """Points from torch's own generator."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, draw: Draw, images: Sequence[int], points: int) -> Tensor:
        return torch.rand(len(images), points, 2, device=self._device)


def _mean_over_ranks(counts: LossCounts, device: torch.device) -> LossCounts:
    # Without gradients one rank alone may evaluate.
    if not (torch.is_grad_enabled() and torch.distributed.is_available() and torch.distributed.is_initialized()):
        return counts
    sums = torch.tensor([counts.masks, counts.class_weight], device=device)
    torch.distributed.all_reduce(sums)
    masks, class_weight = sums / torch.distributed.get_world_size()
    return LossCounts(masks=masks, class_weight=class_weight)
