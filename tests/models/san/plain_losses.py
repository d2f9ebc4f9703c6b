"""SAN's losses by plain formulas in NumPy, float64, one pair and one image at a time; and batches to try them on."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from maskmill.models.san.loss_config import LossConfig
from maskmill.models.san.model import SanOutput
from maskmill.models.san.targets import Target
from tests.models.san.tiny16 import draw

Array = NDArray[np.float64]
SMALL = LossConfig(points=40)


def outputs_of(images: int, queries: int = 6, classes: int = 5, levels: int = 2, *, side: int = 4) -> list[SanOutput]:
    """Random logits that take gradients, float64."""
    return [
        SanOutput(
            mask_logits=draw(images, queries, side, side + 1, seed=level, dtype=torch.float64).mul(3).requires_grad_(),
            class_logits=draw(images, queries, classes + 1, seed=9 + level, dtype=torch.float64).requires_grad_(),
        )
        for level in range(levels)
    ]


def in_float32(outputs: Sequence[SanOutput]) -> list[SanOutput]:
    return [
        SanOutput(
            mask_logits=output.mask_logits.detach().float().requires_grad_(),
            class_logits=output.class_logits.detach().float().requires_grad_(),
        )
        for output in outputs
    ]


def targets_of(counts: Sequence[int], classes: int = 5, *, size: tuple[int, int] = (16, 20)) -> list[Target]:
    """Random rectangles, so many an image."""
    random, found = np.random.default_rng(5), []
    for count in counts:
        masks = np.zeros((count, *size), bool)
        for mask in masks:
            top, left = random.integers(0, size[0] - 4), random.integers(0, size[1] - 4)
            mask[top : top + random.integers(2, 12), left : left + random.integers(2, 12)] = True
        found.append(
            Target(masks=torch.from_numpy(masks), class_ids=torch.from_numpy(random.integers(0, classes, count)))
        )
    return found


def value_at(array: NDArray[np.generic], x: float, y: float) -> float:
    """A map at a point of [0, 1]^2: bilinear between the centres of cells, which are 0 outside."""
    height, width = array.shape
    across, down = x * width - 0.5, y * height - 0.5
    total = 0.0
    for row in range(height):
        for column in range(width):
            weight = max(0.0, 1.0 - abs(down - row)) * max(0.0, 1.0 - abs(across - column))
            total += weight * float(array[row, column])
    return total


def values_at(array: NDArray[np.generic], points: Array) -> Array:
    return np.array([value_at(array, x, y) for x, y in points])


def cross_entropy(logits: Array, true: Array) -> float:
    """Mean over points of -t ln p - (1 - t) ln(1 - p)."""
    p = 1.0 / (1.0 + np.exp(-logits))
    return float(np.mean(-true * np.log(p) - (1.0 - true) * np.log(1.0 - p)))


def dice(logits: Array, true: Array) -> float:
    p = 1.0 / (1.0 + np.exp(-logits))
    return float(1.0 - (2.0 * np.sum(p * true) + 1.0) / (np.sum(p) + np.sum(true) + 1.0))


def softmax(logits: Array) -> Array:
    grown = np.exp(logits - logits.max(-1, keepdims=True))
    return grown / grown.sum(-1, keepdims=True)
