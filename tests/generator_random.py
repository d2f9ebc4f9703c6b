"""A source of training's random points for tests: numbers of one generator, in the order of the questions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from maskmill.models.san.point_sampling import Draw


class GeneratorRandom:
    """A `PointRandom` that draws from one torch.Generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def __call__(self, draw: Draw, images: Sequence[int], points: int) -> Tensor:
        return torch.rand(len(images), points, 2, generator=self.generator, device=self.generator.device)
