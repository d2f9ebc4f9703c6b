"""Makes the other views of a batch, of its uint8 pixels. Which there are, views.py names; who labels them isn't asked.

Each image of a batch has its view at the same place of one batch of views, whose padded size follows from the batch's
own. So what a view's model sees of an image depends on no neighbour.
"""

import torch
from torch import Tensor
from torch.nn import functional

from models.agreement.views import SCALE, View
from models.resize import ImageBatch, ResizeRule, Size


def view_of(batch: ImageBatch, view: View, rule: ResizeRule) -> ImageBatch:
    """A view of every image of a batch, to be labeled at the same mask sizes."""
    return mirrored(batch) if view == "flip" else scaled(batch, SCALE, rule)


def mirrored(batch: ImageBatch) -> ImageBatch:
    """Every image turned left-right within its own size; the padding stays on the right."""
    pixels = torch.zeros_like(batch.pixels)
    for own, made, (height, width) in zip(batch.pixels, pixels, batch.sizes, strict=True):
        made[:, :height, :width] = own[:, :height, :width].flip(-1)
    return ImageBatch(pixels=pixels, sizes=batch.sizes, mask_sizes=batch.mask_sizes)


def scaled(batch: ImageBatch, factor: float, rule: ResizeRule) -> ImageBatch:
    """Every image resized by a factor, bilinear with antialiasing as Pillow does it; rounded to whole values.

    All are padded to what an image that fills the batch's padded size comes to, a multiple as the rule wants it.
    """
    height, width = rule.padded(_by(factor, (batch.pixels.shape[-2], batch.pixels.shape[-1])))
    made = batch.pixels.new_zeros(len(batch), height, width, 3).permute(0, 3, 1, 2)
    sizes = tuple(_by(factor, size) for size in batch.sizes)
    for own, place, old, new in zip(batch.pixels, made, batch.sizes, sizes, strict=True):
        place[:, : new[0], : new[1]] = _resized(own[:, : old[0], : old[1]], new)
    return ImageBatch(pixels=made, sizes=sizes, mask_sizes=batch.mask_sizes)


def _by(factor: float, size: Size) -> Size:
    return max(1, int(size[0] * factor + 0.5)), max(1, int(size[1] * factor + 0.5))


def _resized(image: Tensor, size: Size) -> Tensor:
    """uint8 [3, h, w] at another size. In float32, which every device computes alike but for rounding."""
    resized = functional.interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)[0]
    return resized.round_().clamp_(0, 255).to(torch.uint8)
