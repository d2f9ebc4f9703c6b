"""What contrastive training eats: images with captions, regions with names. Where they come from is open."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pairs:
    """B images, each with a caption and R regions."""

    images: Tensor
    """float32 [B, 3, side, side] at CLIP's resolution, normalised with CLIP's mean and deviation."""

    captions: tuple[str, ...]
    """B sentences; equal ones are no negatives of one another."""

    regions: Tensor
    """bool [B, R, rows, columns] on CLIP's grid: the patches that make up a crop of the image."""

    labels: tuple[Tensor, ...]
    """For each group of texts int64 [B, R]: which of its texts is true of a region, -1 where none is."""
