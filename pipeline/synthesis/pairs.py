"""Image-text pairs from scenes: captions of whole views, names of crops. Knows boxes, never a mask."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from maskmill.models.clip.pixels import CLIP_MEAN, CLIP_STD
from maskmill.models.training.pairs import Pairs
from maskmill.models.vocabulary.scenes import COLOURS, SHAPES, names
from maskmill.pipeline.synthesis.pool import ScenePool
from maskmill.pipeline.synthesis.scene import caption

TEXTS: tuple[tuple[str, ...], ...] = (names(), COLOURS, SHAPES)
"""Groups of texts that a crop is told apart by: its name, and for objects the attributes ("a red", "a star")."""

CROWDED = 0.35
"""A crop that shares more than this with another object's box has no label: its box doesn't say what it shows."""

SEEN = 0.6
"""An object counts as part of a zoomed view when this share of its box is inside."""

_WORDS = names()


def pair_batches(
    pool: ScenePool, size: int, *, grid: int, zoomed: float, rng: np.random.Generator, passes: int = 1
) -> Iterator[Pairs]:
    """All scenes of a pool in random order, `passes` times, each mirrored by chance.

    Args:
        pool: halved scenes.
        size: scenes in a batch; a remainder is left out.
        grid: rows and columns of CLIP's patches.
        zoomed: share of scenes shown as a close view of one object: the large centred objects of the curriculum.
        rng: decides order, mirroring, views and boxes.
        passes: how often each scene is shown.
    """
    for _ in range(passes):
        order = rng.permutation(len(pool))
        for at in range(0, len(order) - size + 1, size):
            yield _batch(pool, np.sort(order[at : at + size]), grid, zoomed, rng)


def _batch(pool: ScenePool, chosen: NDArray[np.int64], grid: int, zoomed: float, rng: np.random.Generator) -> Pairs:
    images = normalised(torch.from_numpy(pool.images[chosen]))
    boxes, objects, backgrounds = pool.boxes[chosen], pool.objects[chosen].copy(), pool.backgrounds[chosen]
    mirrored = rng.random(len(chosen)) < 0.5
    images[torch.from_numpy(mirrored)] = images[torch.from_numpy(mirrored)].flip(-1)
    boxes = np.where(
        mirrored[:, None, None],
        np.stack([1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]], -1),
        boxes,
    )

    views = _views(boxes, objects, rng.random(len(chosen)) < zoomed, rng)
    if zoomed > 0:
        images = _resampled(images, views)
    boxes, shown = _within(boxes, views)
    objects[shown < SEEN] = -1
    patches, crowded = _object_crops(boxes, grid, rng)
    free = _background_crops(boxes, shown, grid, rng)
    enough = free.sum((1, 2)) >= 3
    regions = np.concatenate([patches, free[:, None]], 1)
    labels = np.concatenate([np.where(crowded, -1, objects), np.where(enough, backgrounds, -1)[:, None]], 1)
    regions[labels < 0] = True
    captions = tuple(
        _caption(rng.permutation(present[present >= 0]), background)
        for present, background in zip(objects, backgrounds, strict=True)
    )
    name = torch.from_numpy(labels)
    is_object = (name >= 0) & (name < len(COLOURS) * len(SHAPES))
    colour = torch.where(is_object, name // len(SHAPES), -1)
    shape = torch.where(is_object, name % len(SHAPES), -1)
    return Pairs(images=images, captions=captions, regions=torch.from_numpy(regions), labels=(name, colour, shape))


def normalised(images: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] as CLIP's input."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return (images.float() - mean) / std


def _caption(present: NDArray[np.int64], background: int) -> str:
    if not len(present):
        return _WORDS[background]
    return caption([_WORDS[i] for i in present], _WORDS[background])


def _views(
    boxes: NDArray[np.float32], objects: NDArray[np.int64], close: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float32]:
    """[B, 3] x, y of the view's centre and half its side, as shares of the image's side: all of it, or a close view."""
    count = (objects >= 0).sum(1)
    box = boxes[np.arange(len(boxes)), (rng.random(len(boxes)) * count).astype(np.int64)]
    half = np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]) / 2 * rng.uniform(1.05, 1.8, len(boxes))
    half = np.minimum(half, 0.5)
    slack = np.maximum(half - np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]) / 2, 0) * 0.7
    centre = [(box[:, i] + box[:, i + 2]) / 2 + slack * rng.uniform(-1, 1, len(boxes)) for i in (0, 1)]
    inside = [np.clip(c, half, 1 - half) for c in centre]
    view = np.stack([*inside, half], -1)
    return np.where(close[:, None], view, np.float32(0.5)).astype(np.float32)


def _resampled(images: Tensor, views: NDArray[np.float32]) -> Tensor:
    view = torch.from_numpy(views)
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 2 * view[:, 2]
    theta[:, :, 2] = 2 * view[:, :2] - 1
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _within(boxes: NDArray[np.float32], views: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes in the frame of the views, cut at their border, and the share of each that is left."""
    centre = np.concatenate([views[:, :2], views[:, :2]], -1)[:, None]
    half = views[:, None, 2:]
    moved = (boxes - centre) / (2 * half) + 0.5
    cut = np.clip(moved, 0, 1).astype(np.float32)
    return cut, (_area(cut) / np.maximum(_area(moved), 1e-6)).astype(np.float32)


def _area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    area: NDArray[np.float32] = np.maximum(boxes[..., 2] - boxes[..., 0], 0) * np.maximum(
        boxes[..., 3] - boxes[..., 1], 0
    )
    return area


def _object_crops(
    boxes: NDArray[np.float32], grid: int, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Patches around each object, [B, 3, grid, grid], and which objects have too much of another in their box."""
    count, most, _ = boxes.shape
    shared = np.concatenate(
        [
            np.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2]),
            np.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:]),
        ],
        -1,
    )
    overlap = _area(shared)
    overlap[:, np.arange(most), np.arange(most)] = 0
    crowded = np.any(overlap / np.maximum(_area(boxes), 1e-6)[:, :, None] > CROWDED, axis=-1)

    wobble = rng.uniform(-0.04, 0.04, boxes.shape).astype(np.float32)
    share = rng.uniform(0.15, 0.6, (count, most, 1, 1))
    patches = _coverage(boxes + wobble, grid) >= share
    # Crops of other forms too: SAN's masks are no rectangles. An ellipse in the box, and patches missing by chance.
    rectangles = rng.random((count, most, 1, 1)) < 0.5
    patches &= rectangles | _ellipses(boxes, grid, rng.uniform(0.9, 1.4, (count, most, 1, 1)))
    patches &= rng.random(patches.shape) >= rng.uniform(0.0, 0.35, (count, most, 1, 1))
    middle = ((boxes[..., :2] + boxes[..., 2:]) / 2 * grid).astype(np.int64).clip(0, grid - 1)
    patches[np.arange(count)[:, None], np.arange(most)[None], middle[..., 1], middle[..., 0]] = True
    return patches, crowded


def _background_crops(
    boxes: NDArray[np.float32], shown: NDArray[np.float32], grid: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Patches [B, grid, grid] that no box touches, or those of them in a random rectangle; few if there are few."""
    count = len(boxes)
    exists = shown > 0.02
    touched = (_coverage(boxes, grid) * exists[:, :, None, None]).max(1) > 0.02
    window = _coverage(_windows(count, rng)[:, None], grid)[:, 0] > 0.5
    part = ~touched & window
    background: NDArray[np.bool_] = np.where((part.sum((1, 2)) >= 4)[:, None, None], part, ~touched)
    # A mask of the background touches patches that objects share. Crops too small to name stay too small.
    strays = touched & (rng.random(touched.shape) < rng.uniform(0.0, 0.25, (count, 1, 1)))
    background |= strays & (background.sum((1, 2)) >= 3)[:, None, None]
    return background


def _ellipses(boxes: NDArray[np.float32], grid: int, stretch: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Patches whose middle is in the ellipse that a box holds, stretched: [..., 4] -> [..., grid, grid]."""
    middles = (np.arange(grid) + 0.5) / grid
    x = (middles - (boxes[..., 0:1] + boxes[..., 2:3]) / 2) / np.maximum(boxes[..., 2:3] - boxes[..., 0:1], 1 / grid)
    y = (middles - (boxes[..., 1:2] + boxes[..., 3:4]) / 2) / np.maximum(boxes[..., 3:4] - boxes[..., 1:2], 1 / grid)
    inside: NDArray[np.bool_] = (x**2)[..., None, :] + (y**2)[..., :, None] <= stretch**2 / 4
    return inside


def _windows(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    size = rng.uniform(0.3, 1.2, (count, 2))
    corner = rng.uniform(0, 1, (count, 2)) * np.maximum(1 - size, 0)
    return np.concatenate([corner, corner + size], -1).astype(np.float32)


def _coverage(boxes: NDArray[np.float32], grid: int) -> NDArray[np.float32]:
    """Share of each patch that a box covers: [..., 4] -> [..., grid, grid]."""
    lines = np.arange(grid) / grid
    x = np.clip(np.minimum(boxes[..., 2:3], lines + 1 / grid) - np.maximum(boxes[..., 0:1], lines), 0, None) * grid
    y = np.clip(np.minimum(boxes[..., 3:4], lines + 1 / grid) - np.maximum(boxes[..., 1:2], lines), 0, None) * grid
    coverage: NDArray[np.float32] = y[..., :, None] * x[..., None, :]
    return coverage
