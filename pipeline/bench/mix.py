"""A made-up mix of image sizes, as of photos on the web, and what batches of one padded size become of it."""

from collections.abc import Iterator

import numpy as np

from maskmill.models.resize import ResizeRule, Size
from maskmill.pipeline.bench.results import MixBatches
from maskmill.pipeline.labeling.batching import BatchCounts, Batcher, Prepared

RATIOS = (
    (1, 1, 0.22),
    (4, 3, 0.17),
    (3, 2, 0.19),
    (16, 9, 0.08),
    (5, 4, 0.02),
    (3, 4, 0.09),
    (2, 3, 0.09),
    (9, 16, 0.04),
)
"""Width, height and share of the shapes that cameras, phones and shops make. The shares are made up, and so is the
rest: no distribution of the web's images that says more than a range was found."""

FREE = (0.1, 0.45)
"""The others are cropped freely: mean and deviation of ln(width / height), of a normal distribution."""

LONG_SIDES = (400, 2000)
"""Least and most pixels of an image's long side; all between are as likely."""

SHARDS = (1_000, 10_000)
"""Samples of the shards that are reckoned."""


def sizes(count: int, seed: int = 0) -> Iterator[Size]:
    """Heights and widths of so many images, drawn one after the other: the first are the same whatever the count."""
    draw = np.random.default_rng(seed)
    shares = np.array([share for _, _, share in RATIOS])
    for _ in range(count):
        shape = draw.choice(len(RATIOS) + 1, p=[*shares, 1 - shares.sum()])
        free = np.exp(draw.normal(*FREE))
        ratio = free if shape == len(RATIOS) else RATIOS[shape][0] / RATIOS[shape][1]
        long = int(draw.integers(*LONG_SIDES, endpoint=True))
        short = max(16, round(long * min(ratio, 1 / ratio)))
        yield (short, long) if ratio >= 1 else (long, short)


def batches(rule: ResizeRule, batch_size: int, samples: int) -> MixBatches:
    """What a replica would make of a shard of so many images of the mix; nothing is decoded."""
    batcher = Batcher(rule, batch_size)
    for index, size in enumerate(sizes(samples)):
        # Pixels of the right size that take no memory: only their size is looked at.
        pixels = np.broadcast_to(np.uint8(0), (*rule.size(size), 3))
        batcher.add(Prepared(sample_index=index, pixels=pixels, mask_size=size))
    batcher.rest()
    return reckoned(batcher.counts, batch_size)


def reckoned(counts: BatchCounts, batch_size: int) -> MixBatches:
    """The counts of a shard as shares."""
    return MixBatches(
        samples=counts.images,
        batch_size=batch_size,
        sizes=len(counts.sizes),
        batches=counts.batches,
        padding=counts.padding / counts.pixels,
        early=counts.early_images / counts.images,
        last=(counts.short_images - counts.early_images) / counts.images,
        empty=counts.slots / counts.images - 1,
        waiting_bytes=counts.most_bytes,
    )
