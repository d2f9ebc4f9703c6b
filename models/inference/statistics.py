"""A segment's numbers: class scores from class logits, mask scores from mask logits. It makes no masks compete."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskmill.models.masks.rle import EncodedMask
from maskmill.models.resize import Size
from maskmill.models.segment import Segment

QUANTISED_RANGE = 16.0
"""Mask logits beyond this, on either side, are cut before they are quantised; sigmoid(16) is 1 - 1e-7."""

QUANTISED_STEPS = 127
"""The int8 value of a mask logit at `QUANTISED_RANGE`."""


PASSES = 16
"""Places of highest logits that are found one after the other; for more, rows are sorted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassScores:
    """What one row of class logits says; fields as in `Segment`."""

    vocab_id: int
    """Class of the segment."""

    score: float
    """Its softmax probability, background included in the softmax."""

    margin: float
    """Score minus the highest probability among the other names; the score itself where there is no other name."""

    top_ids: tuple[int, ...]
    """The k names with the highest logits, descending; of equal ones the lower id first."""

    top_logits: tuple[float, ...]
    """Raw logits of `top_ids`."""

    background_logit: float | None
    """Raw logit of background; None where the model has no background."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnMask:
    """Scalars of a query's own mask, before any competition, at mask size."""

    area: int
    """Pixels of foreground probability 0.5 or more."""

    mask_score: float
    """Mean foreground probability over these pixels; 0 where there are none."""

    stability: float
    """IoU of the masks cut at logit +1 and at logit -1; 0 where the latter is empty."""


def confident(class_logits: Tensor, threshold: float) -> Tensor:
    """Queries whose top class is a name, not background, and at least as probable as a threshold.

    Args:
        class_logits: [Q, N + 1], background last; a name that equals background wins.
        threshold: softmax probability, background included in the softmax.

    Returns:
        int64 [K], ascending.
    """
    return sure(class_logits, threshold).nonzero().squeeze(1)


def sure(class_logits: Tensor, threshold: float) -> Tensor:
    """Which queries are `confident`: bool [..., Q] of class logits [..., Q, N + 1]."""
    probability, top = class_logits.softmax(-1).max(-1)
    return (top < class_logits.shape[-1] - 1) & (probability >= threshold)


def class_scores(
    class_logits: Tensor, top_k: int, given: Tensor | None = None, *, background: bool = True
) -> list[ClassScores]:
    """Scores of rows of class logits.

    Args:
        class_logits: [S, N + 1], background last; [S, N] without background.
        top_k: how many names to list; fewer where the vocabulary is smaller.
        given: int64 [S], the class of each row where it is known beforehand to be the top one: rounding must not put
            an equal one before it. By default the name with the highest logit, of equal ones the lowest id.
        background: whether the last column is background; without it the softmax is over the names alone.

    Returns:
        One a row.
    """
    ranks = ranked(class_logits, top_k, given, background=background)
    return [
        ClassScores(
            vocab_id=ids[0],
            score=score,
            margin=max(0.0, margin),
            top_ids=tuple(ids),
            top_logits=tuple(logits),
            background_logit=beside,
        )
        for ids, logits, score, margin, beside in zip(
            ranks.ids.tolist(),
            ranks.logits.tolist(),
            ranks.scores.tolist(),
            ranks.margins.tolist(),
            class_logits[:, -1].tolist() if background else [None] * len(class_logits),
            strict=True,
        )
    ]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ranks:
    """`ClassScores` of rows while they are still on their device."""

    ids: Tensor
    """int64 [S, k], the names with the highest logits."""

    logits: Tensor
    """[S, k], their raw logits."""

    scores: Tensor
    """[S], the softmax probability of the first."""

    margins: Tensor
    """[S], by how much it exceeds that of the second; by rounding it may fall below 0 where both are equal."""


def ranked(class_logits: Tensor, top_k: int, given: Tensor | None = None, *, background: bool = True) -> Ranks:
    """What `class_scores` tells, without a wait for the device; arguments as there."""
    names = class_logits.shape[1] - background
    keys = class_logits[:, :names]
    if given is not None:
        keys = keys.scatter(1, given[:, None], torch.inf)
    order = _highest(keys, min(max(top_k, 2), names))  # two are needed for the margin
    probabilities = class_logits.softmax(1).gather(1, order[:, :2])
    margins = probabilities[:, 0] - probabilities[:, 1] if names > 1 else probabilities[:, 0]
    ids = order[:, :top_k]
    return Ranks(ids=ids, logits=class_logits.gather(1, ids), scores=probabilities[:, 0], margins=margins)


def _highest(keys: Tensor, count: int) -> Tensor:
    """Places of the highest keys [S, N] of each row, descending, of equal ones the lowest first: int64 [S, count].

    `topk` leaves the order of equal keys open. A stable sort doesn't, and takes as long as all else together where
    names are many; hence, for a few, the first highest over and over.
    """
    if count > PASSES:
        return keys.sort(dim=1, descending=True, stable=True).indices[:, :count]
    keys, found = keys.clone(), []
    for _ in range(count):
        found.append(keys.max(1, keepdim=True).indices)
        keys.scatter_(1, found[-1], -torch.inf)
    return torch.cat(found, dim=1)


class MaskTally:
    """Adds up the scalars of K queries' own masks while their full-size logits go by in bands."""

    def __init__(self, count: int, device: torch.device) -> None:
        self._own, self._inner, self._outer = (torch.zeros(count, dtype=torch.int64, device=device) for _ in range(3))
        self._foreground = torch.zeros(count, dtype=torch.float64, device=device)

    def add(self, logits: Tensor, probabilities: Tensor) -> Tensor:
        """Count one band.

        Args:
            logits: [K, rows, W].
            probabilities: their sigmoid.

        Returns:
            The own masks in this band, bool [K, rows, W].
        """
        own = probabilities >= 0.5
        self._own += count(own)
        self._inner += count(logits >= 1)
        self._outer += count(logits >= -1)
        self._foreground += (probabilities * own).flatten(1).sum(1)
        return own

    def results(self) -> list[OwnMask]:
        """The scalars of each query."""
        return [
            OwnMask(
                area=area,
                mask_score=foreground / area if area else 0.0,
                stability=inner / outer if outer else 0.0,
            )
            for area, foreground, inner, outer in zip(
                self._own.tolist(),
                self._foreground.tolist(),
                self._inner.tolist(),
                self._outer.tolist(),
                strict=True,
            )
        ]


def count(masks: Tensor) -> Tensor:
    """Pixels of bool masks [K, ...] as int64 [K], on their device."""
    flat = masks.flatten(1)
    if flat.device.type != "cpu":
        return flat.sum(1)
    # torch widens every pixel to 8 bytes before it adds; NumPy counts bytes, some sixty times faster.
    return torch.tensor([np.count_nonzero(row) for row in flat.numpy()], dtype=torch.int64)


def quantised(mask_logits: Tensor, padded: Size, size: Size) -> NDArray[np.int8]:
    """What `quantise` gives, on the host."""
    array: NDArray[np.int8] = quantise(mask_logits, padded, size).cpu().numpy()
    return array


def quantise(mask_logits: Tensor, padded: Size, size: Size) -> Tensor:
    """Mask logits in a byte each, without the part that covers padding alone.

    Args:
        mask_logits: [K, h, w] at the model's stride.
        padded: height, width of the input that they cover.
        size: height, width of the resized image.

    Returns:
        int8 [K, ceil(size / stride)], row-major: round(clip(logit, -16, 16) x 127 / 16), halves to even.
    """
    height, width = (
        -(-part * cells // whole) for part, cells, whole in zip(size, mask_logits.shape[1:], padded, strict=True)
    )
    clipped = mask_logits[:, :height, :width].clamp(-QUANTISED_RANGE, QUANTISED_RANGE)
    return (clipped * (QUANTISED_STEPS / QUANTISED_RANGE)).round().to(torch.int8).contiguous()


def make_segment(
    query: int,
    classes: ClassScores,
    own: OwnMask | None,
    encoded: EncodedMask,
    *,
    kept: float | None,
    mask_size: Size,
    mask_logits: NDArray[np.int8] | None,
) -> Segment:
    """A segment: `encoded` is its final mask, `own` its query's mask before competition; None where no query has it."""
    return Segment(
        query=query,
        vocab_id=classes.vocab_id,
        score=classes.score,
        margin=classes.margin,
        top_ids=classes.top_ids,
        top_logits=classes.top_logits,
        background_logit=classes.background_logit,
        mask_score=None if own is None else own.mask_score,
        stability=None if own is None else own.stability,
        kept=kept,
        area=encoded.area,
        bbox=encoded.bbox,
        rle=encoded.rle,
        mask_size=mask_size,
        mask_logits=mask_logits,
    )
