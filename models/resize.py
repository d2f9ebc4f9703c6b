"""How images become a model's input: the resize rule, padding, and batches of equal padded size. Bytes stay uint8."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from maskmill.models.resampling import by_pillow
from maskmill.models.windows import WindowConfig, Windows, third_overlapping, windows_of

Size = tuple[int, int]
"""Height, width in pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResizeRule:
    """The released evaluation's rule: a short side, a cap on the long side, and padding to a multiple.

    Source: SAN's released configuration (detectron2's ResizeShortestEdge: MIN_SIZE_TEST, MAX_SIZE_TEST).
    """

    short_side: int = 640
    """Length the image's short side is resized to, in pixels."""

    long_side_cap: int = 2560
    """The long side never exceeds this many pixels; the short side then falls below `short_side`."""

    multiple: int = 32
    """Inputs are padded with zeros, right and bottom, to a multiple of this many pixels."""

    def size(self, image: Size) -> Size:
        """Height, width that an image of this height, width is resized to."""
        return _fitted(image, self.short_side, self.long_side_cap)

    def padded(self, resized: Size) -> Size:
        """Height, width after padding; images may share a batch when theirs are equal."""
        return (
            -(-resized[0] // self.multiple) * self.multiple,
            -(-resized[1] // self.multiple) * self.multiple,
        )

    def in_batch(self, resized: Size, batch_size: int) -> int:
        """Images of this resized height, width that make a full batch, where the model takes `batch_size` at once."""
        return batch_size

    def apply(self, image: Image.Image) -> NDArray[np.uint8]:
        """The resized image (Pillow's bilinear) as uint8 [h, w, 3], RGB, not padded."""
        return by_pillow(image, self.size((image.height, image.width)))


@dataclass(frozen=True, kw_only=True, slots=True)
class SlidingRule(ResizeRule):
    """The rule of sliding windows: of an image larger than a model's usual input more pixels are kept.

    `short_side` and `long_side_cap` say the usual size, which an image has that is no larger; `short_side` is also the
    side of the windows.
    """

    scale: float
    """A larger image is resized to so many times its usual size, but not beyond its own."""

    def __post_init__(self) -> None:
        # Then no image that is looked at whole has the padded size of one that isn't.
        assert self.short_side % self.multiple == self.long_side_cap % self.multiple == 0, "sizes that need no padding"

    @property
    def windows(self) -> WindowConfig:
        """Windows that overlap by a third."""
        return third_overlapping(self.short_side)

    def size(self, image: Size) -> Size:
        """See `ResizeRule.size`."""
        usual = _fitted(image, self.short_side, self.long_side_cap)
        if max(usual) >= max(image):
            return usual
        larger = _fitted(image, self.scale * self.short_side, self.scale * self.long_side_cap)
        return image if max(larger) >= max(image) else larger

    def grid(self, resized: Size) -> Windows | None:
        """The windows of a resized image; None where it has its usual size, and is looked at whole."""
        if min(resized) <= self.short_side and max(resized) <= self.long_side_cap:
            return None
        return windows_of(resized, self.windows)

    def padded(self, resized: Size) -> Size:
        """See `ResizeRule.padded`: the image whole as usual, else up to where its last windows would end unshifted.

        So images share a batch whose windows form the same grid. What lies beyond the image is in no window.
        """
        height, width = ResizeRule.padded(self, resized)
        if self.grid(resized) is None:
            return height, width
        return self._covered(resized[0], height), self._covered(resized[1], width)

    def _covered(self, length: int, padded: int) -> int:
        if length <= self.short_side:
            return padded
        return self.short_side + (self.windows.count(length) - 1) * self.windows.stride

    def in_batch(self, resized: Size, batch_size: int) -> int:
        """See `ResizeRule.in_batch`: fewer of those with more pixels, so that a batch has about as many of them."""
        return batch_size if self.grid(resized) is None else max(1, int(batch_size / self.scale**2))

    @property
    def windows_at_once(self) -> int:
        """Windows that go through the model together, for each image of a batch: of a full batch about `batch_size`."""
        return int(self.scale**2)


def _fitted(image: Size, short_side: float, long_side_cap: float) -> Size:
    """An image's height, width scaled to a short side, or to a long side where that would exceed its cap."""
    height, width = image
    scale = short_side / min(height, width)
    new_height, new_width = (short_side, scale * width) if height < width else (scale * height, short_side)
    longest = max(new_height, new_width)
    if longest > long_side_cap:
        shrink = long_side_cap / longest
        new_height, new_width = new_height * shrink, new_width * shrink
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageBatch:
    """Images of one padded size, and the sizes their masks shall have."""

    pixels: Tensor
    """uint8 [B, 3, H, W], RGB. What lies outside `sizes` is padding, whose bytes mean nothing: the model zeroes it
    after normalisation."""

    sizes: tuple[Size, ...]
    """Height, width of each resized image, before padding."""

    mask_sizes: tuple[Size, ...]
    """Height, width of each image's masks."""

    def __len__(self) -> int:
        return len(self.sizes)

    def part(self, start: int, stop: int) -> "ImageBatch":
        """The images from `start` up to `stop`, as a batch of their own."""
        return ImageBatch(
            pixels=self.pixels[start:stop], sizes=self.sizes[start:stop], mask_sizes=self.mask_sizes[start:stop]
        )


def batch_of(
    images: Sequence[NDArray[np.uint8]], mask_sizes: Sequence[Size], rule: ResizeRule, *, pinned: bool = False
) -> ImageBatch:
    """A batch of resized images (uint8 [h, w, 3]) that share one padded size.

    Args:
        images: the resized images.
        mask_sizes: sizes of their masks.
        rule: what resized them.
        pinned: build it in memory that a GPU copies from while it computes.
    """
    sizes = tuple((image.shape[0], image.shape[1]) for image in images)
    padded = {rule.padded(size) for size in sizes}
    assert len(padded) == 1, f"one batch, several padded sizes: {sorted(padded)}"
    height, width = padded.pop()
    pixels = _host_memory((len(images), height, width, 3), pinned=pinned)
    for row, image in zip(pixels.numpy(), images, strict=True):
        row[: image.shape[0], : image.shape[1]] = image
        row[image.shape[0] :] = 0
        row[: image.shape[0], image.shape[1] :] = 0
    # Channels last in memory is what decoders write and what the patch convolutions read best.
    return ImageBatch(pixels=pixels.permute(0, 3, 1, 2), sizes=sizes, mask_sizes=tuple(mask_sizes))


def _host_memory(shape: tuple[int, ...], *, pinned: bool) -> Tensor:
    """Memory of the host, unwritten, uint8; pinned where that is asked for and can be had."""
    if pinned:
        # PyTorch keeps pinned memory and hands it out again once the copies that read it are done: the tensor must be
        # its own, and views of it.
        with suppress(RuntimeError):
            return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
    return torch.empty(shape, dtype=torch.uint8)


USUAL = ((1, 1), (4, 3), (3, 2), (16, 9))
"""Proportions that most photos have: what cameras, phones and screens make."""


def usual_sizes(rule: ResizeRule) -> tuple[Size, ...]:
    """Padded sizes of photos of usual proportions, lying and standing: the commonest buckets."""
    long = 10_000
    sizes = (rule.padded(rule.size((round(long * b / a), long))) for a, b in USUAL)
    return tuple(dict.fromkeys(side for size in sizes for side in (size, size[::-1])))


def mask_size(image: Size, long_side: int) -> Size:
    """Height, width of an image's masks: its own, scaled down so that the long side has at most `long_side` pixels."""
    longest = max(image)
    if longest <= long_side:
        return image
    return max(1, round(image[0] * long_side / longest)), max(1, round(image[1] * long_side / longest))
