"""Which query learns which target: Hungarian matching on costs at random points. Nothing here is differentiated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from maskmill.models.clip.layers import full_precision
from maskmill.models.san.loss_config import LossConfig
from maskmill.models.san.model import SanOutput
from maskmill.models.san.point_sampling import Draw, PointRandom, count_points, sample_maps, sample_masks
from maskmill.models.san.targets import JoinedTargets


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Match:
    """Pairs of one image at one depth: min(Q, T) of them, by ascending query. On the host."""

    queries: NDArray[np.int64]
    """Queries that have a target."""

    targets: NDArray[np.int64]
    """Their targets, as places among the image's."""


@torch.no_grad()
def match(
    outputs: Sequence[SanOutput], targets: JoinedTargets, random: PointRandom, config: LossConfig
) -> tuple[tuple[Match, ...], ...]:
    """The cheapest assignment of targets to queries, for each depth and image.

    Costs of all depths are computed where the model's outputs live and come to the host in one copy, the only one.

    Args:
        outputs: what the model says at each supervised depth, for B images.
        targets: of the same images, on the same device.
        random: where each image's points come from; one draw a depth.
        config: weights of the costs, and how many points.

    Returns:
        For each depth the matches of the B images.

    Raises:
        FloatingPointError: costs that are not finite, because logits are not.
    """
    images = len(targets.counts)
    if not sum(targets.counts):
        nothing = Match(queries=np.zeros(0, np.int64), targets=np.zeros(0, np.int64))
        return ((nothing,) * images,) * len(outputs)
    found = [
        costs(output, targets, random(Draw(use="matching", level=level), range(images), config.points), config)
        for level, output in enumerate(outputs)
    ]
    tables = torch.stack(found).cpu().numpy()
    return tuple(
        tuple(_assigned(tables[level, image, :, :count], level, image) for image, count in enumerate(targets.counts))
        for level in range(len(outputs))
    )


@torch.no_grad()
def costs(output: SanOutput, targets: JoinedTargets, points: Tensor, config: LossConfig) -> Tensor:
    """What it would cost each query to be matched with each target of its image.

    Args:
        output: what the model says at one depth.
        targets: of the same images, M masks.
        points: [B, P, 2] in [0, 1], where an image's masks are compared; not at points that are ignored.
        config: weights of class cost (minus the probability), mask cost (mean binary cross-entropy) and dice cost.

    Returns:
        [B, Q, T], T the most targets that an image has; columns beyond an image's own targets mean nothing. Float32,
        or float64 where logits are.

    Source: Mask2Former (arXiv 2112.01527), sections 3.3 and 3.4; DETR (arXiv 2005.12872), section 3.1.
    """
    with torch.autocast(output.mask_logits.device.type, enabled=False):
        logits, classes = full_precision(output.mask_logits), full_precision(output.class_logits)
        points = points.to(logits)
        most, count = max(targets.counts), points.shape[1]
        image, place = targets.images, targets.places
        rows = torch.arange(len(image), device=logits.device)
        true = logits.new_zeros(len(logits), most, count)
        true[image, place] = sample_masks(targets.masks, rows, points[image])
        ids = image.new_zeros(len(logits), most)
        ids[image, place] = targets.class_ids

        sampled = sample_maps(logits, points)
        entropy, probability = functional.softplus(sampled), sampled.sigmoid()
        number: Tensor | int = count
        if targets.ignore is not None:
            everyone = torch.arange(len(logits), device=logits.device)
            counted = count_points(targets.ignore, everyone, points)[:, None]
            true, entropy, probability = true * counted, entropy * counted, probability * counted
            number = counted.sum(-1, keepdim=True).clamp(min=1)
        overlap = true.transpose(1, 2)
        # Cross-entropy of logit x with target t is softplus(x) - x t: one matrix product for all pairs.
        mask = (entropy.sum(-1, keepdim=True) - sampled @ overlap) / number
        both = probability.sum(-1, keepdim=True) + true.sum(-1)[:, None]
        dice = 1.0 - (2.0 * (probability @ overlap) + 1.0) / (both + 1.0)
        named = classes.softmax(-1).gather(2, ids[:, None].expand(-1, logits.shape[1], -1))
        return config.mask_weight * mask + config.dice_weight * dice - config.class_weight * named


def _assigned(table: NDArray[np.floating], level: int, image: int) -> Match:
    """The cheapest assignment of one image's costs [Q, T]."""
    if not np.isfinite(table).all():
        raise FloatingPointError(
            f"SAN training: matching costs of image {image} of the batch are not finite at output {level}: the model's "
            "logits overflow or are NaN. Lower the learning rate, or look at the image."
        )
    queries, targets = linear_sum_assignment(table)
    return Match(queries=queries.astype(np.int64), targets=targets.astype(np.int64))
