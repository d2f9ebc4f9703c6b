"""Makes the other views of a batch, of its uint8 pixels. Which there are, views.py names; who labels them isn't asked.

A view's padded size follows from that of the batch, or from the image alone. So what a model sees of an image's view
depends on no neighbour.
"""

from collections import defaultdict
from dataclasses import dataclass

import torch

from maskmill.models.agreement.views import SCALE, View
from maskmill.models.resampling import bilinear
from maskmill.models.resize import ImageBatch, ResizeRule, Size, SlidingRule


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ViewBatch:
    """Views of some images of a batch, of one padded size."""

    places: tuple[int, ...]
    """Places of the images in the batch that these are views of, ascending."""

    images: ImageBatch
    """The views, to be labeled at the mask sizes of the images."""


def view_of(batch: ImageBatch, view: View, rule: ResizeRule) -> list[ViewBatch]:
    """A view of every image of a batch.

    Args:
        batch: images as the rule made them.
        view: which.
        rule: of the model.

    Returns:
        Batches that hold each image's view once; one, unless the model slides windows over some of the scaled images.
    """
    return [mirrored(batch)] if view == "flip" else scaled(batch, SCALE, rule)


def mirrored(batch: ImageBatch) -> ViewBatch:
    """Every image turned left-right within its own size; the padding stays on the right."""
    pixels = torch.zeros_like(batch.pixels)
    for own, made, (height, width) in zip(batch.pixels, pixels, batch.sizes, strict=True):
        made[:, :height, :width] = own[:, :height, :width].flip(-1)
    images = ImageBatch(pixels=pixels, sizes=batch.sizes, mask_sizes=batch.mask_sizes)
    return ViewBatch(places=tuple(range(len(batch))), images=images)


def scaled(batch: ImageBatch, factor: float, rule: ResizeRule) -> list[ViewBatch]:
    """Every image resized by a factor, bilinear with antialiasing as Pillow does it; rounded to whole values.

    All of a batch are padded alike, to what an image that fills the batch's padded size comes to: full batches stay
    full, and of as few shapes as there are of batches. Only with sliding windows, whose rule pads an image by how many
    it takes, is each padded as the rule says, and with others of that padded size.
    """
    sizes = [_by(factor, size) for size in batch.sizes]
    common = scaled_size((batch.pixels.shape[-2], batch.pixels.shape[-1]), rule, factor)
    by_padded: defaultdict[Size, list[int]] = defaultdict(list)
    for place, size in enumerate(sizes):
        by_padded[rule.padded(size) if isinstance(rule, SlidingRule) else common].append(place)
    return [
        ViewBatch(places=tuple(places), images=_resized(batch, places, [sizes[place] for place in places], padded))
        for padded, places in by_padded.items()
    ]


def scaled_size(padded: Size, rule: ResizeRule, factor: float = SCALE) -> Size:
    """The padded size of a batch's scaled view, by the batch's own: that of an image without padding."""
    return rule.padded(_by(factor, padded))


def _by(factor: float, size: Size) -> Size:
    return max(1, int(size[0] * factor + 0.5)), max(1, int(size[1] * factor + 0.5))


def _resized(batch: ImageBatch, places: list[int], sizes: list[Size], padded: Size) -> ImageBatch:
    """Some images of a batch at other sizes."""
    pixels = batch.pixels.new_zeros(len(places), *padded, 3).permute(0, 3, 1, 2)
    for made, place, (height, width) in zip(pixels, places, sizes, strict=True):
        old = batch.sizes[place]
        made[:, :height, :width] = bilinear(batch.pixels[place, :, : old[0], : old[1]], (height, width))
    return ImageBatch(pixels=pixels, sizes=tuple(sizes), mask_sizes=tuple(batch.mask_sizes[place] for place in places))
