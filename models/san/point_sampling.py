"""Points on masks: where random numbers put them, what maps and masks are worth there, and which are uncertain.

A point is (x, y) in [0, 1] of the padded image, so that maps of any stride can be read at it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models.san.loss_config import LossConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """What random points are drawn for; a source may make its numbers depend on it, or not."""

    use: Literal["matching", "candidates", "fill"]
    """Points of an image's matching; candidates for a mask's uncertain loss points; its uniform loss points."""

    level: int
    """Position of the supervised depth among the model's outputs."""


class PointRandom(Protocol):
    """A source of the random numbers that training's points come from."""

    def __call__(self, draw: Draw, images: Sequence[int], points: int) -> Tensor:
        """Uniform numbers in [0, 1): floats [R, points, 2], on any device.

        Args:
            draw: what they are for; asked for once for each draw of a training step.
            images: which image of the batch each of the R rows belongs to, ascending.
            points: points of a row.
        """
        ...


class SampleRandom:
    """Numbers that follow from each image's own seed: no matter in which batch, place or worker it is.

    Args:
        seeds: one a batch image, any integers (of the sample's identity and the epoch, say).
        device: where numbers are drawn; CPU and CUDA draw different ones.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.seeds = tuple(seeds)
        self.device = torch.device(device)

    def __call__(self, draw: Draw, images: Sequence[int], points: int) -> Tensor:
        """See `PointRandom`."""
        numbers = torch.empty(len(images), points, 2, device=self.device)
        generator, start = torch.Generator(self.device), 0
        while start < len(images):
            image, stop = images[start], start + 1
            while stop < len(images) and images[stop] == image:
                stop += 1
            stated = f"{self.seeds[image]}/{draw.use}/{draw.level}"
            generator.manual_seed(int.from_bytes(hashlib.sha256(stated.encode()).digest()[:8], "little") >> 1)
            numbers[start:stop].uniform_(generator=generator)
            start = stop
        return numbers


def sample_maps(maps: Tensor, points: Tensor) -> Tensor:
    """Maps at points: bilinear between the centres of cells, zero outside; differentiable in the maps.

    Args:
        maps: float [N, C, h, w].
        points: [N, P, 2], of the same type.

    Returns:
        [N, C, P].
    """
    grid = points[:, None] * 2.0 - 1.0
    sampled = functional.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled[:, :, 0]


def sample_masks(masks: Tensor, rows: Tensor, points: Tensor) -> Tensor:
    """Masks at points, as `sample_maps` has it up to rounding, without making floats of boolean masks (4 times larger).

    Args:
        masks: bool or float [M, H, W].
        rows: int64 [R], the mask that each row of points looks at.
        points: [R, P, 2] in [0, 1].

    Returns:
        [R, P] of the points' type.
    """
    height, width = masks.shape[1:]
    flat = masks.reshape(-1)
    across, down = points[..., 0] * width - 0.5, points[..., 1] * height - 0.5
    left, top = across.floor(), down.floor()
    columns, lines = _corners(left, across - left, width), _corners(top, down - top, height)
    sampled = torch.zeros_like(across)
    for line, line_weight in lines:
        start = rows[:, None] * (height * width) + line * width
        for column, column_weight in columns:
            sampled += flat[start + column].to(points.dtype) * (column_weight * line_weight)
    return sampled


def _corners(near: Tensor, share: Tensor, cells: int) -> list[tuple[Tensor, Tensor]]:
    """The two cells around positions in one direction, with their weights: 0 where there is no such cell."""
    index = near.long()
    return [
        (cell.clamp(0, cells - 1), weight * ((cell >= 0) & (cell < cells)))
        for cell, weight in ((index, 1.0 - share), (index + 1, share))
    ]


def count_points(ignore: Tensor, rows: Tensor, points: Tensor) -> Tensor:
    """Which points count: those that no ignored pixel has a share in.

    Args:
        ignore: bool [B, H, W].
        rows: int64 [R], the image that each row of points looks at.
        points: [R, P, 2] in [0, 1].

    Returns:
        bool [R, P].
    """
    return sample_masks(ignore, rows, points) == 0


@torch.no_grad()
def loss_points(
    logits: Tensor,
    images: Sequence[int],
    level: int,
    random: PointRandom,
    config: LossConfig,
    *,
    ignore: Tensor | None = None,
) -> Tensor:
    """Points where a mask's losses look: the candidates whose logits are nearest to 0, then uniform ones.

    Args:
        logits: mask logits float [R, h, w].
        images: the image of the batch that each of the R masks belongs to, ascending.
        level: position of the supervised depth among the model's outputs.
        random: where candidates and uniform points come from.
        config: how many of each.
        ignore: bool [B, H, W], pixels of which nothing is known; a candidate there is taken only where others run out.

    Returns:
        [R, config.points, 2], of the logits' type and device.

    Source: PointRend (arXiv 1912.08193), section 3.1, training; as in Mask2Former.
    """
    candidates = random(Draw(use="candidates", level=level), images, config.candidates).to(logits)
    certainty = sample_maps(logits[:, None], candidates)[:, 0].abs()
    if ignore is not None:
        rows = torch.tensor(images, dtype=torch.int64).to(ignore.device, non_blocking=True)
        certainty = certainty.where(count_points(ignore, rows, candidates), torch.inf)
    nearest = certainty.topk(config.uncertain, dim=1, largest=False).indices
    points = candidates.gather(1, nearest[..., None].expand(-1, -1, 2))
    missing = config.points - config.uncertain
    if not missing:
        return points
    return torch.cat([points, random(Draw(use="fill", level=level), images, missing).to(logits)], dim=1)
