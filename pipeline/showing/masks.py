"""Lays masks in colour over a picture, with outlines and tags. What the masks mean is the legend's part."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from maskmill.pipeline.showing.fonts import Font
from maskmill.pipeline.showing.palette import Colour

TINT = 0.6
"""Share of a mask's colour in the pixels it covers; the rest is the image in grey, so that the hue is the mask's."""

LONG_TAGS = 10
"""Regions, from the largest on, that get the longer tag; more would bury the picture."""

_Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """One mask to draw."""

    mask: NDArray[np.bool_]
    """[h, w] at any scale: it is stretched to the picture."""

    colour: Colour
    """Of tint, outline and tag."""

    tag: str
    """Short text that stands in the mask where there is room."""

    short_tag: str
    """Shorter text for where there is less room."""

    @property
    def share(self) -> float:
        """Share of the picture that the mask covers, in [0, 1]."""
        return float(self.mask.mean())


def draw(picture: Image.Image, regions: Sequence[Region], font: Font) -> Image.Image:
    """The picture with all regions over it.

    Args:
        picture: RGB at the size to draw at; left as it is.
        regions: drawn from the largest to the smallest, so that none hides another.
        font: of the tags.
    """
    pixels = np.asarray(picture).astype(np.float32)
    ordered = sorted(regions, key=lambda region: -region.share)
    stretched = [_stretch(region.mask, picture.size) for region in ordered]
    covered = np.logical_or.reduce(stretched, axis=0) if stretched else np.zeros(pixels.shape[:2], bool)
    pixels[covered] = np.asarray(picture.convert("L"), np.float32)[covered, None]
    for region, mask in zip(ordered, stretched, strict=True):
        pixels[mask] += (np.array(region.colour, np.float32) - pixels[mask]) * np.float32(TINT)
    for region, mask in zip(ordered, stretched, strict=True):
        # White outside the colour: an outline is then seen on every ground.
        inner = _eroded(mask, 2)
        pixels[mask & ~inner] = region.colour
        pixels[inner & ~_eroded(inner, 1)] = 255
    drawn = Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
    _tags(drawn, ordered, stretched, font)
    return drawn


def _stretch(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _eroded(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """The mask without what is within `steps` pixels of its outside, diamond by diamond. The picture's border counts as
    outside."""
    for _ in range(steps):
        padded = np.pad(mask, 1)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def _heart(mask: NDArray[np.bool_]) -> tuple[float, float] | None:
    """x, y deep inside the mask, as shares of its size; None for an empty mask."""
    if not mask.any():
        return None
    step = max(1, max(mask.shape) // 128)
    small = mask[::step, ::step]
    small = small if small.any() else mask
    while (inner := _eroded(small, 1)).any():
        small = inner
    ys, xs = np.nonzero(small)
    # Of the deepest pixels, the one nearest to their middle: that of a ring lies on it, not in its hole.
    nearest = np.argmin((ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2)
    return (float(xs[nearest]) + 0.5) / small.shape[1], (float(ys[nearest]) + 0.5) / small.shape[0]


def _tags(picture: Image.Image, regions: Sequence[Region], masks: Sequence[NDArray[np.bool_]], font: Font) -> None:
    """Writes each region's tag at its heart, the shorter one where the longer would cover another, else none."""
    canvas = ImageDraw.Draw(picture)
    taken: list[_Box] = []
    for place, (region, mask) in enumerate(zip(regions, masks, strict=True)):
        heart = _heart(mask)
        if heart is None:
            continue
        for text in (region.tag, region.short_tag) if place < LONG_TAGS else (region.short_tag,):
            width, height = font.box(text)
            needed = (width + 10, height + 8)
            # A tag would hide a mask of its own size: it then stands above or below.
            offsets = (0.0, -1.2, 1.2) if mask.sum() > 2 * needed[0] * needed[1] else (-1.2, 1.2)
            box = _free_box(needed, heart, offsets, picture.size, taken) if text else None
            if box is not None:
                taken.append(box)
                _tag(canvas, text, font, box, region.colour)
                break


def _free_box(
    needed: tuple[float, float],
    heart: tuple[float, float],
    offsets: Sequence[float],
    size: tuple[int, int],
    taken: Sequence[_Box],
) -> _Box | None:
    """A place for a tag near the heart (offsets are in heights of the tag), in the picture and clear of other tags."""
    width, height = needed
    if width > size[0] or height > size[1]:
        return None
    for offset in offsets:
        x = min(max(heart[0] * size[0] - width / 2, 0), size[0] - width)
        y = min(max(heart[1] * size[1] + (offset - 0.5) * height, 0), size[1] - height)
        if all(x + width <= a or c <= x or y + height <= b or d <= y for a, b, c, d in taken):
            return x, y, x + width, y + height
    return None


def _tag(
    canvas: ImageDraw.ImageDraw,
    text: str,
    font: Font,
    box: _Box,
    colour: Colour,
) -> None:
    canvas.rounded_rectangle(box, radius=4, fill=(255, 255, 255), outline=colour, width=2)
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    font.draw(canvas, middle, text, fill=(20, 20, 20), anchor="mm")
