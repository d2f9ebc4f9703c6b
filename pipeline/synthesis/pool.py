"""Pools of scenes in memory for training: drawn by worker processes, a function of seed and index. Writes no file."""

from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmill.models.vocabulary.scenes import names
from maskmill.pipeline.processes import process_pool, result_of
from maskmill.pipeline.synthesis.scene import MOST_OBJECTS, scene
from maskmill.pipeline.synthesis.shapes import SIDE

_CHUNK = 256
"""Scenes that a worker draws for one message."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScenePool:
    """N scenes, with what a caption and a box know about them, and the class maps for those who train on masks."""

    images: NDArray[np.uint8]
    """[N, 3, side, side], RGB; side is 64 where halved, else 128."""

    class_maps: NDArray[np.uint8] | None
    """[N, 128, 128], ids of the vocabulary `scenes`; None where they weren't asked for."""

    objects: NDArray[np.int64]
    """[N, 3] vocabulary ids from back to front, -1 where a scene has fewer."""

    boxes: NDArray[np.float32]
    """[N, 3, 4] x0, y0, x1, y1 around what is visible of each object, as shares of the side."""

    backgrounds: NDArray[np.int64]
    """[N] vocabulary ids."""

    def __len__(self) -> int:
        return len(self.images)


def draw(seed: int, start: int, count: int, *, halved: bool, masks: bool) -> ScenePool:
    """Scenes start ... start + count - 1 of a seed.

    Args:
        seed: of the scenes.
        start: index of the first.
        count: how many.
        halved: store images at half size, each pixel the mean of four: what a bilinear resize by 0.5 without antialias
            gives, which is how SAN shows its input to CLIP, rounded to 8 bits.
        masks: keep class maps.
    """
    side = SIDE // 2 if halved else SIDE
    images = np.empty((count, 3, side, side), np.uint8)
    maps = np.empty((count, SIDE, SIDE), np.uint8) if masks else None
    objects = np.full((count, MOST_OBJECTS), -1, np.int64)
    boxes = np.zeros((count, MOST_OBJECTS, 4), np.float32)
    backgrounds = np.empty(count, np.int64)
    words = names()
    for i in range(count):
        drawn = scene(seed, start + i)
        planes = drawn.image.transpose(2, 0, 1)
        if halved:
            sums = planes.reshape(3, side, 2, side, 2).sum(axis=(2, 4), dtype=np.uint16)
            planes = ((sums + 2) // 4).astype(np.uint8)
        images[i] = planes
        if maps is not None:
            maps[i] = drawn.class_map
        backgrounds[i] = words.index(drawn.background)
        for place, thing in enumerate(drawn.things):
            rows, columns = np.nonzero(drawn.class_map == thing.vocab_id)
            objects[i, place] = thing.vocab_id
            boxes[i, place] = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return ScenePool(
        images=images, class_maps=maps, objects=objects, boxes=boxes / np.float32(SIDE), backgrounds=backgrounds
    )


def pools(
    seed: int, size: int, *, start: int = 0, halved: bool, masks: bool, workers: int
) -> Generator[ScenePool, None, None]:
    """Pool after pool of fresh scenes, without end: the next is drawn while the caller uses the last.

    Args:
        seed: of the scenes.
        size: scenes in a pool.
        start: index of the first pool, for a training that goes on.
        halved: as in `draw`.
        masks: as in `draw`.
        workers: processes that draw.
    """
    with process_pool(workers) as executor:

        def ask(number: int) -> list[Future[ScenePool]]:
            first, end = number * size, (number + 1) * size
            return [
                executor.submit(draw, seed, at, min(_CHUNK, end - at), halved=halved, masks=masks)
                for at in range(first, end, _CHUNK)
            ]

        number, coming = start, ask(start)
        while True:
            parts = [result_of(part, "Run the same command again: it goes on.") for part in coming]
            number += 1
            coming = ask(number)
            yield _joined(parts)


def _joined(parts: list[ScenePool]) -> ScenePool:
    maps = [part.class_maps for part in parts if part.class_maps is not None]
    return ScenePool(
        images=np.concatenate([part.images for part in parts]),
        class_maps=np.concatenate(maps) if maps else None,
        objects=np.concatenate([part.objects for part in parts]),
        boxes=np.concatenate([part.boxes for part in parts]),
        backgrounds=np.concatenate([part.backgrounds for part in parts]),
    )
