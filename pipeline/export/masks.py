"""Masks at the image's size: one by one, or painted over one another. Reads no table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maskmill.models.masks import rle
from maskmill.models.masks.rle import EncodedMask

Size = tuple[int, int]
"""Height, width."""


def stretched(pixels: NDArray[Any], size: Size) -> NDArray[Any]:
    """The nearest pixel of each pixel's centre: what Pillow's NEAREST gives; the same array where nothing changes."""
    if pixels.shape[:2] == size:
        return pixels
    rows, columns = (
        ((np.arange(wanted) + 0.5) * had / wanted).astype(np.int64)
        for wanted, had in zip(size, pixels.shape[:2], strict=True)
    )
    nearest: NDArray[Any] = pixels[rows[:, None], columns[None, :]]
    return nearest


def stretched_mask(mask: bytes, mask_size: Size, size: Size) -> EncodedMask:
    """A stored mask at another size, encoded and measured anew.

    Raises:
        ValueError: the bytes aren't run lengths of a mask of `mask_size`.
    """
    pixels = np.ascontiguousarray(stretched(rle.decode(mask, mask_size), size))
    (encoded,) = rle.encode_and_measure(torch.from_numpy(pixels)[None])
    return encoded


def painted(
    masks: Sequence[bytes], values: Sequence[int], scores: Sequence[float], mask_size: Size, blank: int
) -> NDArray[np.int32]:
    """Masks on one canvas: where they overlap the higher score is on top, of equal ones the later.

    Args:
        masks: COCO compressed run lengths.
        values: what each is painted with.
        scores: who is on top.
        mask_size: height, width of the masks.
        blank: what pixels in no mask hold.

    Returns:
        int32 [height, width].

    Raises:
        ValueError: a mask isn't one of this size.
    """
    height, width = mask_size
    # Column by column, as run lengths go.
    canvas = np.full((width, height), blank, np.int32)
    for place in sorted(range(len(masks)), key=lambda place: scores[place]):
        canvas[rle.decode(masks[place], mask_size).T] = values[place]
    return np.ascontiguousarray(canvas.T)
