"""Cuts batches of equal padded size out of a shard, in shard order: a function of the samples, never of timing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from maskmill.models.resize import ImageBatch, ResizeRule, Size, batch_of

WINDOW_SAMPLES = 4096
"""A batch that isn't full leaves once its first image is this many samples behind: rare sizes wait for company, but
finished rows, which wait for those before them, don't pile up with the length of the shard."""

SOFT_WINDOW_SAMPLES = 512
"""The same where rows hold mask logits: those of 100 queries are a quarter of a megabyte."""

WAITING_BYTES = 32 << 20
"""Pixels that may wait, in bytes for each image of a full batch; beyond it the batch leaves that began first."""

MOST_WAITING_BYTES = 2 << 30
"""Pixels that may wait whatever the size of a batch; a replica has two shards in work."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prepared:
    """One decoded image, resized for the model."""

    sample_index: int
    """Position of its sample in the shard."""

    pixels: NDArray[np.uint8]
    """uint8 [h, w, 3], RGB, resized, not padded."""

    mask_size: Size
    """Height, width its masks shall have."""


@dataclass(kw_only=True, slots=True)
class BatchCounts:
    """What became of a shard's images: how full batches were, and how much of them was padding."""

    images: int = 0
    """Images in batches that have left."""

    batches: int = 0
    """Batches that have left."""

    short_images: int = 0
    """Images in batches that weren't full."""

    short_batches: int = 0
    """Such batches."""

    early_images: int = 0
    """Images of those in batches that left before the shard's end."""

    early_batches: int = 0
    """Such batches."""

    slots: int = 0
    """Images that would be there if all batches were full."""

    pixels: int = 0
    """Pixels of all batches, padding included."""

    padding: int = 0
    """Pixels of them that are padding."""

    most_bytes: int = 0
    """Most bytes of pixels that waited for company at once."""

    sizes: dict[Size, int] = field(default_factory=dict)
    """Batches by padded height, width."""

    def left(self, images: Sequence[Size], padded: Size, full: int) -> None:
        """Count a batch of images of these heights and widths; `full` would fill it."""
        self.images += len(images)
        self.batches += 1
        if len(images) < full:
            self.short_images += len(images)
            self.short_batches += 1
        self.slots += full
        area = len(images) * padded[0] * padded[1]
        self.pixels += area
        self.padding += area - sum(height * width for height, width in images)
        self.sizes[padded] = self.sizes.get(padded, 0) + 1

    def told(self) -> dict[str, int | float]:
        """The counts as fields of a log line: numbers alone, sizes as how many there were."""
        return {
            "batches": self.batches,
            "short_batches": self.short_batches,
            "short_images": self.short_images,
            "early_batches": self.early_batches,
            "early_images": self.early_images,
            "sizes": len(self.sizes),
            "padding": round(self.padding / max(1, self.pixels), 4),
            "waiting_bytes": self.most_bytes,
        }


class Batcher:
    """Collects prepared images by padded size.

    Args:
        rule: how images become the model's input.
        batch_size: images of a full batch.
        window: samples after which an image waits no longer for company.
    """

    def __init__(self, rule: ResizeRule, batch_size: int, *, window: int = WINDOW_SAMPLES) -> None:
        self._rule = rule
        self._batch_size = batch_size
        self._window = window
        self._bytes = 0
        self._most_bytes = min(MOST_WAITING_BYTES, WAITING_BYTES * batch_size)
        # In the order of their first images: a size that has left comes anew at the end.
        self._waiting: dict[Size, list[Prepared]] = {}
        self.counts = BatchCounts()

    def add(self, image: Prepared) -> list[list[Prepared]]:
        """Take the next image in shard order; what has to leave now comes back, each list one batch."""
        height, width, _ = image.pixels.shape
        size = self._rule.padded((height, width))
        group = self._waiting.setdefault(size, [])
        group.append(image)
        self._bytes += image.pixels.nbytes
        full = [self._leave(size)] if len(group) == self._full(image) else []
        return full + self.passed(image.sample_index)

    def passed(self, sample_index: int) -> list[list[Prepared]]:
        """What has to leave now that the shard was read up to this sample, whether or not it gave an image."""
        leaving = []
        while self._waiting:
            size, images = next(iter(self._waiting.items()))
            if self._bytes <= self._most_bytes and sample_index - images[0].sample_index < self._window:
                break
            self.counts.early_batches += 1
            self.counts.early_images += len(images)
            leaving.append(self._leave(size))
        self.counts.most_bytes = max(self.counts.most_bytes, self._bytes)
        return leaving

    def rest(self) -> list[list[Prepared]]:
        """What is left at the shard's end, each list one batch."""
        return [self._leave(size) for size in list(self._waiting)]

    def _leave(self, size: Size) -> list[Prepared]:
        images = self._waiting.pop(size)
        self._bytes -= sum(image.pixels.nbytes for image in images)
        sizes = [(image.pixels.shape[0], image.pixels.shape[1]) for image in images]
        self.counts.left(sizes, size, self._full(images[0]))
        return images

    def _full(self, image: Prepared) -> int:
        """How many images like this one make a full batch."""
        height, width, _ = image.pixels.shape
        return self._rule.in_batch((height, width), self._batch_size)


def to_batch(images: Sequence[Prepared], rule: ResizeRule, *, pinned: bool = False) -> ImageBatch:
    """The model's input of one batch; `pinned` as for `batch_of`."""
    return batch_of([image.pixels for image in images], [image.mask_size for image in images], rule, pinned=pinned)
