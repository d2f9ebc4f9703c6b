"""Pillow's RGB images beside arrays that share their memory: four bytes a pixel, of which the last says nothing."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def image_of(rgbx: NDArray[np.uint8]) -> Image.Image:
    """An RGB image whose pixels are the array's; nothing is copied until somebody writes to the image.

    Args:
        rgbx: uint8 [H, W, 4], contiguous; not written to again.
    """
    import pyarrow as pa

    height, width, _ = rgbx.shape
    return Image.fromarrow(pa.FixedSizeListArray.from_arrays(pa.array(rgbx.reshape(-1)), 4), "RGB", (width, height))


def tensor_of(image: Image.Image) -> Tensor:
    """An RGB image's pixels: uint8 [H, W, 4], shared with it and not to be written to.

    A large image that Pillow holds in several pieces is copied, as uint8 [H, W, 3].
    """
    import pyarrow as pa

    assert image.mode == "RGB", image.mode
    try:
        pixels = pa.array(image)
    except ValueError:  # "in multiple array blocks"
        return torch.from_numpy(np.array(image))
    return torch.utils.dlpack.from_dlpack(pixels.flatten()).view(image.height, image.width, 4)
