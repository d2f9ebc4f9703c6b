"""What DenseCLIP's training minimises: cross entropy of its logits and, as an aid, of its score map."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models.clip.layers import full_precision
from maskmill.models.denseclip.model import DenseClipOutput

UNLABELED = 255
"""The published number for a pixel that nobody labeled; here any number below 0 or beyond the last class is one too."""

AUXILIARY_WEIGHT = 0.4
"""Weight of the score map's loss beside 1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PixelTargets:
    """What every pixel of B images should be."""

    rows: Tensor
    """int [B, H, W]: row of `distributions` at every pixel, or the class itself; out of range where nobody knows."""

    distributions: Tensor | None = None
    """[S, N]: for each row the probability of every class, for soft targets; None for hard ones."""

    weights: Tensor | None = None
    """[B, H, W]: how much a pixel counts, 0 or more; None for 1 everywhere. An unknown pixel counts nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Losses:
    """The parts of the loss."""

    decode: Tensor
    """Of the logits."""

    auxiliary: Tensor
    """Of the score map, weighted."""

    decode_accuracy: Tensor
    """Percent of all pixels, unknown ones included, whose top class is their likeliest."""

    auxiliary_accuracy: Tensor
    """The same of the score map."""

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.decode + self.auxiliary

    def named(self) -> dict[str, Tensor]:
        """The parts under the released code's names."""
        return {
            "decode.loss_ce": self.decode,
            "decode.acc_seg": self.decode_accuracy,
            "aux_identity.loss_ce": self.auxiliary,
            "aux_identity.acc_seg": self.auxiliary_accuracy,
        }


def losses(output: DenseClipOutput, targets: PixelTargets, tau: float) -> Losses:
    """The losses of a batch.

    Both maps are enlarged to the targets' size (bilinear, corners not aligned). Means are over all pixels: unknown ones
    add nothing and still count in the divisor.

    Args:
        output: of the model in training.
        targets: of the same images.
        tau: temperature of the score map.

    Source: DenseCLIP (CVPR 2022), section 3.4 and released configuration; MMSegmentation 0.19's cross entropy.
    """
    decode, decode_accuracy = _cross_entropy(output.logits, targets)
    auxiliary, auxiliary_accuracy = _cross_entropy(output.scores / tau, targets)
    return Losses(
        decode=decode,
        auxiliary=AUXILIARY_WEIGHT * auxiliary,
        decode_accuracy=decode_accuracy,
        auxiliary_accuracy=auxiliary_accuracy,
    )


def _cross_entropy(logits: Tensor, targets: PixelTargets) -> tuple[Tensor, Tensor]:
    """Cross entropy over all pixels, and the percentage of pixels that are right."""
    with torch.autocast(logits.device.type, enabled=False):
        enlarged = functional.interpolate(
            full_precision(logits), size=targets.rows.shape[1:], mode="bilinear", align_corners=False
        )
        count = enlarged.shape[1] if targets.distributions is None else len(targets.distributions)
        known = (targets.rows >= 0) & (targets.rows < count)
        rows = torch.where(known, targets.rows, 0).long()
        if targets.distributions is None:
            lost, likeliest = functional.cross_entropy(enlarged, rows, reduction="none"), rows
        else:
            wanted = targets.distributions.to(enlarged.dtype)
            lost = -(enlarged.log_softmax(1) * wanted[rows].permute(0, 3, 1, 2)).sum(1)
            likeliest = wanted.argmax(1)[rows]
        counted = known.to(lost.dtype) if targets.weights is None else known * targets.weights.to(lost.dtype)
        right = (enlarged.argmax(1) == likeliest) & known
        return (lost * counted).mean(), right.float().sum() * (100.0 / right.numel())
