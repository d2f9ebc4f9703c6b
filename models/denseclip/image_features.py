"""What either image encoder gives to the rest of a DenseCLIP. Plain data."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageFeatures:
    """Features of B images."""

    levels: tuple[Tensor, ...]
    """Four maps [B, C, rows, columns] at strides 4, 8, 16 and 32, without score map."""

    whole: Tensor
    """[B, embed_dim], CLIP's embedding of the image; not normalised."""

    dense: Tensor
    """[B, embed_dim, rows, columns], the same projection of every cell of CLIP's last map; not normalised."""
