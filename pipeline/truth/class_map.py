"""Ground truth from PNG bytes: one class id a pixel. Images that people look at are decoded in reading/images.py."""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from pipeline.reading.errors import SampleError
from pipeline.reading.limits import ReadLimits

IGNORED = -1
"""Class id of pixels that nobody labeled; they take no part in training or evaluation."""

_UNLABELED = {"L": 255, "P": 255, "I;16": 65535}
"""Pillow's mode of the PNG -> the value that means "not labeled" in it (as in COCO-Stuff and ADE20K)."""


def decode_class_map(data: bytes, classes: int, limits: ReadLimits) -> NDArray[np.int32]:
    """Class ids of a sample's ground truth.

    Args:
        data: an 8-bit (grey or palette) or a 16-bit grey PNG.
        classes: size of the vocabulary that the ids belong to.
        limits: `max_pixels` applies, before pixels are decoded.

    Returns:
        int32 [height, width], `IGNORED` where the PNG holds its largest value (255, or 65535 of 16 bits).

    Raises:
        SampleError: not such a PNG, too large, or an id that the vocabulary doesn't have.
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise SampleError("unknown_format", "the ground truth is not a PNG")
    try:
        # Opened by its class, as images are: Image.open's own bound on pixels is global and only warns.
        with PngImageFile(BytesIO(data)) as image:
            if image.width * image.height > limits.max_pixels:
                raise SampleError("too_large", f"ground truth of {image.width} x {image.height} pixels (--max-pixels)")
            if image.mode not in _UNLABELED:
                raise SampleError("decode", f"ground truth of mode {image.mode}: expected 8-bit or 16-bit ids")
            unlabeled = _UNLABELED[image.mode]
            raw: NDArray[Any] = np.asarray(image)
    except (SampleError, MemoryError):
        raise
    except Exception as error:  # Pillow raises by the dozen of kinds on hostile data
        raise SampleError("decode", f"ground truth: {type(error).__name__}: {error}") from error
    ids = raw.astype(np.int32)
    ids[raw == unlabeled] = IGNORED
    if ids.max(initial=IGNORED) >= classes:
        raise SampleError(
            "decode", f"ground truth holds class id {ids.max()}, the vocabulary has {classes}: 0 to {classes - 1}"
        )
    return ids
