"""Ground truth from PNG bytes: one class id a pixel. Images that people look at are decoded in reading/images.py."""

from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from maskmill.pipeline.reading.errors import SampleError
from maskmill.pipeline.reading.limits import ReadLimits

IGNORED = -1
"""Class id of pixels that nobody labeled; they take no part in training or evaluation."""

TruthIds = Literal["vocabulary", "coco-stuff"]
"""What a ground truth's numbers are: ids of the vocabulary; or COCO-Stuff's own (category id - 1, with gaps), whose
classes in order are those of the label set coco-stuff-171."""

_NEVER_USED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
"""Category ids up to 182 that COCO-Stuff has no pixels of."""

_UNLABELED = {"L": 255, "P": 255, "I;16": 65535}
"""Pillow's mode of the PNG -> the value that means "not labeled" in it (as in COCO-Stuff and ADE20K)."""


def decode_class_map(data: bytes, classes: int, limits: ReadLimits, ids: TruthIds = "vocabulary") -> NDArray[np.int32]:
    """Class ids of a sample's ground truth.

    Args:
        data: an 8-bit (grey or palette) or a 16-bit grey PNG.
        classes: size of the vocabulary that the ids belong to.
        limits: `max_pixels` applies, before pixels are decoded.
        ids: what its numbers are.

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
    found = raw.astype(np.int32)
    found[raw == unlabeled] = IGNORED
    if ids == "coco-stuff":
        if found.max(initial=IGNORED) >= len(_FROM_COCO_STUFF) - 1:
            raise SampleError("decode", f"ground truth holds {found.max()}, COCO-Stuff's numbers end at 181")
        found = _FROM_COCO_STUFF[found]  # IGNORED is the last entry
    if found.max(initial=IGNORED) >= classes:
        raise SampleError(
            "decode", f"ground truth holds class id {found.max()}, the vocabulary has {classes}: 0 to {classes - 1}"
        )
    return found


def _from_coco_stuff() -> NDArray[np.int32]:
    """Id in coco-stuff-171 of each of COCO-Stuff's numbers, 0 to 181, and `IGNORED` last."""
    used = [category not in _NEVER_USED for category in range(1, 183)]
    ranks = np.cumsum(used) - 1
    return np.append(np.where(used, ranks, IGNORED), IGNORED).astype(np.int32)


_FROM_COCO_STUFF = _from_coco_stuff()
