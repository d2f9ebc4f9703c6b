"""Cuts batches of equal padded size out of a shard, in shard order: a function of the samples, never of timing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.resize import ImageBatch, ResizeRule, Size, batch_of

WINDOW_BATCHES = 16
"""A batch that isn't full leaves once its first image is this many full batches of samples behind: rare sizes wait for
company, but neither pixels nor finished rows pile up with the length of the shard."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prepared:
    """One decoded image, resized for the model."""

    sample_index: int
    """Position of its sample in the shard."""

    pixels: NDArray[np.uint8]
    """uint8 [h, w, 3], RGB, resized, not padded."""

    mask_size: Size
    """Height, width its masks shall have."""


class Batcher:
    """Collects prepared images by padded size."""

    def __init__(self, rule: ResizeRule, batch_size: int) -> None:
        self._rule = rule
        self._batch_size = batch_size
        self._window = WINDOW_BATCHES * batch_size
        self._waiting: dict[Size, list[Prepared]] = {}

    def add(self, image: Prepared) -> list[list[Prepared]]:
        """Take the next image in shard order; what has to leave now comes back, each list one batch."""
        height, width, _ = image.pixels.shape
        group = self._waiting.setdefault(self._rule.padded((height, width)), [])
        group.append(image)
        return self.passed(image.sample_index)

    def passed(self, sample_index: int) -> list[list[Prepared]]:
        """What has to leave now that the shard was read up to this sample, whether or not it gave an image."""
        leaving = [
            size
            for size, images in self._waiting.items()
            if len(images) == self._full(images[0]) or sample_index - images[0].sample_index >= self._window
        ]
        return [self._waiting.pop(size) for size in leaving]

    def _full(self, image: Prepared) -> int:
        """How many images like this one make a full batch."""
        height, width, _ = image.pixels.shape
        return self._rule.in_batch((height, width), self._batch_size)

    def rest(self) -> list[list[Prepared]]:
        """What is left at the shard's end, each list one batch."""
        batches = list(self._waiting.values())
        self._waiting = {}
        return batches


def to_batch(images: Sequence[Prepared], rule: ResizeRule, *, pinned: bool = False) -> ImageBatch:
    """The model's input of one batch; `pinned` as for `batch_of`."""
    return batch_of([image.pixels for image in images], [image.mask_size for image in images], rule, pinned=pinned)
