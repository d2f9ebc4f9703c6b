"""SAN's training losses: class, mask and dice at each supervised depth, each with its own matching. No loop here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models.clip.layers import full_precision
from maskmill.models.san.loss_config import LossConfig
from maskmill.models.san.matching import Match, match
from maskmill.models.san.model import SanOutput
from maskmill.models.san.point_sampling import PointRandom, count_points, loss_points, sample_maps, sample_masks
from maskmill.models.san.targets import JoinedTargets, Target

UNTAUGHT = -100
"""Class of a query that the class loss passes over."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LossCounts:
    """What the sums of a batch's losses are divided by.

    Workers that share a batch divide by the mean of their counts: averaging their gradients then gives what one worker
    would have for the whole batch.
    """

    masks: float | Tensor
    """Target masks in the batch; mask and dice losses are divided by it, or by 1 where it is less."""

    class_weight: float | Tensor
    """Sum of the class loss's weights over queries: 1 if matched, else `no_object_weight`."""

    @classmethod
    def of(cls, targets: Sequence[Target], queries: int, config: LossConfig) -> "LossCounts":
        """Counts of one worker's batch for a model of `queries` queries; known before matching and without a device."""
        matched = sum(min(len(target), queries) for target in targets)
        return cls(
            masks=float(sum(len(target) for target in targets)),
            class_weight=matched + config.no_object_weight * (len(targets) * queries - matched),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DepthLosses:
    """Losses at one depth, weighted: three scalars in float32 (float64 for a float64 model)."""

    classes: Tensor
    """Cross-entropy over classes and background."""

    masks: Tensor
    """Binary cross-entropy at the loss points."""

    dice: Tensor
    """Dice loss at the loss points."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Losses:
    """Losses of a batch."""

    depths: tuple[DepthLosses, ...]
    """In the order of the model's outputs: the final depth last."""

    @property
    def total(self) -> Tensor:
        """What training minimises: the sum of all."""
        return torch.stack(list(self.named().values())).sum()

    def named(self) -> dict[str, Tensor]:
        """Each loss under its released name, for logs: `loss_ce`, ..., and `loss_ce_0`, ... of earlier depths."""
        return dict(self._named())

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        suffixes = ["", *(f"_{level}" for level in range(len(self.depths) - 1))]
        for suffix, depth in zip(suffixes, (self.depths[-1], *self.depths[:-1]), strict=True):
            yield f"loss_ce{suffix}", depth.classes
            yield f"loss_mask{suffix}", depth.masks
            yield f"loss_dice{suffix}", depth.dice


def losses(
    outputs: Sequence[SanOutput],
    targets: Sequence[Target],
    random: PointRandom,
    config: LossConfig,
    *,
    counts: LossCounts | None = None,
) -> Losses:
    """The losses of a batch of B images.

    Computed in float32 (float64 for a float64 model) also under autocast. One copy from the device to the host, for
    the matching of all depths.

    Args:
        outputs: `San.forward` at `config.deep_supervision`, whose last depth is the final one.
        targets: of the B images, on any device.
        random: where the points come from.
        config: weights and point counts.
        counts: what sums are divided by; the mean over workers where several share a batch, this batch's own if None.

    Returns:
        Weighted losses. An image without targets, and a batch without any, have losses and gradients too.

    Raises:
        FloatingPointError: logits that are not finite (noticed where there are targets).

    Source: SAN (arXiv 2302.12242), section 4; Mask2Former (arXiv 2112.01527), section 3.4.
    """
    final = outputs[-1].mask_logits
    assert len(targets) == len(final), f"{len(targets)} targets for {len(final)} images"
    if counts is None:
        counts = LossCounts.of(targets, final.shape[1], config)
    joined = JoinedTargets.of(targets, final.device)
    matches = match(outputs, joined, random, config)
    pairs = [_Pairs.of(level, matched, joined) for level, matched in enumerate(matches)]
    return Losses(
        depths=tuple(
            _depth_losses(output, joined, matched, random=random, config=config, counts=counts)
            for output, matched in zip(outputs, pairs, strict=True)
        )
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Pairs:
    """The K matched pairs of a batch at one depth, by image and query."""

    level: int
    """Position of the depth among the outputs."""

    images: list[int]
    """The image of each pair, on the host."""

    index: Tensor
    """int64 [3, K] on the device: image, query, row of the joined targets."""

    @classmethod
    def of(cls, level: int, matches: Sequence[Match], targets: JoinedTargets) -> "_Pairs":
        images = [image for image, one in enumerate(matches) for _ in one.queries]
        queries = np.concatenate([one.queries for one in matches])
        rows = np.concatenate([one.targets + start for one, start in zip(matches, targets.starts, strict=True)])
        index = torch.from_numpy(np.stack([np.array(images, np.int64), queries, rows]))
        return cls(level=level, images=images, index=index.to(targets.class_ids.device, non_blocking=True))


def _depth_losses(
    output: SanOutput,
    targets: JoinedTargets,
    pairs: _Pairs,
    *,
    random: PointRandom,
    config: LossConfig,
    counts: LossCounts,
) -> DepthLosses:
    with torch.autocast(output.mask_logits.device.type, enabled=False):
        image, query, row = pairs.index
        hidden = None if targets.ignore is None else mostly_ignored(output.mask_logits, targets.ignore)
        logits, ids = full_precision(output.class_logits), targets.class_ids[row]
        classes = class_loss(logits, image, query, ids, config, hidden=hidden)
        logits = full_precision(output.mask_logits[image, query])
        counted = None
        if pairs.images:
            points = loss_points(logits, pairs.images, pairs.level, random, config, ignore=targets.ignore)
            sampled, true = sample_maps(logits[:, None], points)[:, 0], sample_masks(targets.masks, row, points)
            counted = None if targets.ignore is None else count_points(targets.ignore, image, points)
        else:
            # No mask at all: sums over nothing, which still reach the logits, so that every parameter has a gradient.
            sampled = true = logits.flatten(1)
        masks = counts.masks.clamp(min=1.0) if isinstance(counts.masks, Tensor) else max(counts.masks, 1.0)
        return DepthLosses(
            classes=config.class_weight * classes / counts.class_weight,
            masks=config.mask_weight * mask_loss(sampled, true, counted) / masks,
            dice=config.dice_weight * dice_loss(sampled, true, counted) / masks,
        )


@torch.no_grad()
def mostly_ignored(mask_logits: Tensor, ignore: Tensor) -> Tensor:
    """Queries more than half of whose mask lies on ignored pixels: whether something is there, nobody knows.

    Of an image that is ignored as a whole these are all queries, those without a mask too.

    Args:
        mask_logits: float [B, Q, h, w].
        ignore: bool [B, H, W].

    Returns:
        bool [B, Q].
    """
    height, width = mask_logits.shape[-2:]
    shares = functional.adaptive_avg_pool2d(ignore[:, None].float(), (height, width))
    masks = (mask_logits > 0).flatten(2).float()
    inside = (masks @ shares.flatten(2).transpose(1, 2))[..., 0]
    return (inside > 0.5 * masks.sum(-1)) | ignore.flatten(1).all(1)[:, None]


def class_loss(
    logits: Tensor,
    image: Tensor,
    query: Tensor,
    class_ids: Tensor,
    config: LossConfig,
    *,
    hidden: Tensor | None = None,
) -> Tensor:
    """Sum over all queries of weighted cross-entropy: matched ones against their class, the rest against background.

    Args:
        logits: float [B, Q, N + 1], background last.
        image: int64 [K], of each matched pair.
        query: int64 [K].
        class_ids: int64 [K].
        config: for `no_object_weight`.
        hidden: bool [B, Q], queries that aren't taught to be background if they have no match.
    """
    background = logits.shape[-1] - 1
    wanted = torch.full(logits.shape[:2], background, dtype=torch.int64, device=logits.device)
    if hidden is not None:
        wanted.masked_fill_(hidden, UNTAUGHT)
    wanted[image, query] = class_ids
    weights = logits.new_ones(background + 1)
    weights[background] = config.no_object_weight
    return functional.cross_entropy(
        logits.flatten(0, 1), wanted.flatten(), weight=weights, reduction="sum", ignore_index=UNTAUGHT
    )


def mask_loss(sampled: Tensor, true: Tensor, counted: Tensor | None = None) -> Tensor:
    """Sum over masks of the mean binary cross-entropy over points; both [K, P], logits and targets in [0, 1].

    `counted`, bool [K, P], says which points there are; all if None.
    """
    entropy = functional.binary_cross_entropy_with_logits(sampled, true, reduction="none")
    if counted is None:
        return entropy.mean(1).sum()
    return ((entropy * counted).sum(1) / counted.sum(1).clamp(min=1)).sum()


def dice_loss(sampled: Tensor, true: Tensor, counted: Tensor | None = None) -> Tensor:
    """Sum over masks of 1 - (2 p . t + 1) / (sum p + sum t + 1), p the sigmoid of logits; both [K, P].

    `counted` as in `mask_loss`.
    """
    probability = sampled.sigmoid()
    if counted is not None:
        probability, true = probability * counted, true * counted
    overlap = 2.0 * (probability * true).sum(1)
    return (1.0 - (overlap + 1.0) / (probability.sum(1) + true.sum(1) + 1.0)).sum()
