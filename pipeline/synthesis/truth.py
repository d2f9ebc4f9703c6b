"""Batches of scenes with the class of every pixel, for training masks: only scenes whose objects are all taught."""

from collections.abc import Collection, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from maskmill.models.training.batch import TrainingBatch
from maskmill.models.vocabulary.scenes import names
from maskmill.pipeline.synthesis.pool import ScenePool


def taught_names(left_out: Collection[str]) -> tuple[str, ...]:
    """The names of the vocabulary `scenes` in its order, without those left out."""
    return tuple(name for name in names() if name not in left_out)


def truth_batches(
    pool: ScenePool, size: int, *, left_out: Collection[str], rng: np.random.Generator, passes: int = 1
) -> Iterator[TrainingBatch]:
    """The scenes of a pool in random order, `passes` times, each mirrored by chance.

    Args:
        pool: whole scenes with class maps.
        size: scenes in a batch; a remainder is left out.
        left_out: names of objects; scenes that show one are skipped, and class maps count the other names alone.
        rng: decides order, mirroring and the seeds of points.
        passes: how often each scene is shown.
    """
    assert pool.class_maps is not None
    rows = _rows(left_out)
    # -1 stands for no object and picks the last entry, a background, which is always taught.
    taught = np.flatnonzero((rows[pool.objects] >= 0).all(axis=1))
    for _ in range(passes):
        order = rng.permutation(taught)
        for at in range(0, len(order) - size + 1, size):
            chosen = order[at : at + size]
            images, maps = pool.images[chosen], rows[pool.class_maps[chosen]]
            mirrored = rng.random(size) < 0.5
            images[mirrored] = images[mirrored][..., ::-1]
            maps[mirrored] = maps[mirrored][..., ::-1]
            yield TrainingBatch(
                pixels=torch.from_numpy(images),
                class_maps=torch.from_numpy(maps),
                classes=tuple(
                    tuple(sorted({int(rows[i]) for i in objects if i >= 0} | {int(rows[background])}))
                    for objects, background in zip(pool.objects[chosen], pool.backgrounds[chosen], strict=True)
                ),
                seeds=tuple(int(seed) for seed in rng.integers(2**31, size=size)),
            )


def _rows(left_out: Collection[str]) -> NDArray[np.int16]:
    """Vocabulary id -> place among the names that are taught, -1 for those left out."""
    taught = taught_names(left_out)
    return np.array([taught.index(name) if name in taught else -1 for name in names()], np.int16)
