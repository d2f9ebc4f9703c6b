"""Plain JPEGs on a GPU, by nvJPEG through torchvision. Which they are is said by their bytes; the rest is the CPU's."""

from io import BytesIO

import torch
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from torch import Tensor

from maskmill.pipeline.reading import images, jpeg
from maskmill.pipeline.reading.limits import ReadLimits

BASELINE = 0xC0
"""Second byte of the frame marker of baseline JPEGs, which every nvJPEG decodes alike."""

SAMPLINGS = (0, 1, 2)
"""Pillow's numbers for colour at 4:4:4, 4:2:2 and 4:2:0."""

GREY = 4
"""Grey levels from the middle within which a last pixel may be what a decoder made of data that never came."""


def decode(data: bytes, limits: ReadLimits, device: torch.device) -> Tensor | None:
    """A JPEG's pixels on a GPU.

    Args:
        data: an image's bytes; not trusted.
        limits: `max_pixels` applies, to the size that the header declares and before memory is taken.
        device: a CUDA device.

    Returns:
        uint8 [3, H, W], RGB; None for what the CPU must decode or refuse: all but whole baseline JPEGs in YCbCr that
        stand upright and have no mid-grey corner.

    Raises:
        pipeline.reading.errors.SampleError: too_large.
        torch.OutOfMemoryError, torch.AcceleratorError: the device failed.
    """
    if not is_plain(data, limits):
        return None
    from torchvision.io import ImageReadMode, decode_jpeg

    try:
        file = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        pixels: Tensor = decode_jpeg(file, ImageReadMode.RGB, device=device)
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except RuntimeError:  # nvJPEG can't make sense of these bytes
        return None
    last = pixels[:, -1, -1].tolist()
    return None if all(abs(value - 128) <= GREY for value in last) else pixels


def is_plain(data: bytes, limits: ReadLimits) -> bool:
    """Whether nvJPEG may decode these bytes.

    Raises:
        pipeline.reading.errors.SampleError: too_large; more scans than any encoder writes.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return False
    script = jpeg.read_script(data)
    if script is None or script.end is None or script.frame != BASELINE or len(script.scans) != 1:
        return False
    try:
        header = JpegImageFile(BytesIO(data))
    except Exception:  # the CPU's decoder says what is wrong
        return False
    images.check_size(header.size, limits)
    return (
        header.mode == "RGB"
        and header.info.get("adobe_transform", 1) == 1
        and get_sampling(header) in SAMPLINGS
        and images.turn_of(header) is None
    )
