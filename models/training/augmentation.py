"""Random crops of training images: the published augmentation as a pure function of image, class map and seed."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskmill.models.resize import ResizeRule
from maskmill.models.training.recipe import Augmentation

UNLABELED = -1
"""Class of pixels that nobody labeled, and of the padding."""

UNKNOWN = -2
"""Class of pixels that labels were dropped from: they are in no mask, and no loss looks at them."""

PADDING = 128
"""Grey of the pixels around an image that is smaller than the crop, of 255."""

BRIGHTNESS, CONTRAST, SATURATION, HUE = 32.0, 0.5, 0.5, 18.0 / 180.0
"""Largest change of each: levels of 255; shares of contrast and saturation; share of the hue circle."""


def augment(
    image: Image.Image, class_map: NDArray[np.int32], augmentation: Augmentation, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """One crop.

    Args:
        image: RGB.
        class_map: [height, width] of the image, class ids, negative where nobody labeled.
        augmentation: what to draw.
        seed: 0 or more; equal seeds give equal crops.

    Returns:
        uint8 [crop, crop, 3] and int16 [crop, crop].
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    side = augmentation.crop
    short = max(1, int(side * augmentation.scales[int(rng.integers(len(augmentation.scales)))]))
    rule = ResizeRule(short_side=short, long_side_cap=augmentation.long_side_cap * side)
    height, width = rule.size((image.height, image.width))
    top, left = (int(rng.integers(max(0, length - side) + 1)) for length in (height, width))
    box = (left, top, min(width, left + side), min(height, top + side))
    cropped = image.resize((width, height), Image.Resampling.BILINEAR).crop(box)
    ids = Image.fromarray(class_map.astype(np.int32)).resize((width, height), Image.Resampling.NEAREST).crop(box)
    if augmentation.colour:
        cropped = jitter(cropped, rng)
    pixels = np.full((side, side, 3), PADDING, np.uint8)
    classes = np.full((side, side), UNLABELED, np.int16)
    mirrored = augmentation.flip and rng.random() < 0.5
    step = -1 if mirrored else 1
    pixels[: cropped.height, : cropped.width] = np.asarray(cropped)[:, ::step]
    classes[: cropped.height, : cropped.width] = np.asarray(ids)[:, ::step]
    return pixels, classes


def jitter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The image in other colours: brightness, then contrast before or after saturation and hue.

    Source: SSD (arXiv 1512.02325), section 2.2 and its released code.
    """
    levels = np.arange(256, dtype=np.float64)
    if rng.random() < 0.5:
        image = _mapped(image, levels + rng.uniform(-BRIGHTNESS, BRIGHTNESS))
    contrast_first = rng.random() < 0.5
    contrast = levels * rng.uniform(1 - CONTRAST, 1 + CONTRAST) if rng.random() < 0.5 else None
    if contrast is not None and contrast_first:
        image = _mapped(image, contrast)
    saturation = rng.uniform(1 - SATURATION, 1 + SATURATION) if rng.random() < 0.5 else None
    turn = rng.uniform(-HUE, HUE) if rng.random() < 0.5 else None
    if saturation is not None or turn is not None:
        hue, colourfulness, value = image.convert("HSV").split()
        if turn is not None:
            hue = hue.point(np.mod(levels + round(256 * turn), 256).astype(int).tolist())
        if saturation is not None:
            colourfulness = colourfulness.point(_table(levels * saturation))
        image = Image.merge("HSV", (hue, colourfulness, value)).convert("RGB")
    if contrast is not None and not contrast_first:
        image = _mapped(image, contrast)
    return image


def _mapped(image: Image.Image, levels: NDArray[np.float64]) -> Image.Image:
    return image.point(_table(levels) * 3)


def _table(levels: NDArray[np.float64]) -> list[int]:
    table: list[int] = np.clip(np.round(levels), 0, 255).astype(int).tolist()
    return table
