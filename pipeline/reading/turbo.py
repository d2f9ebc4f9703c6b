"""JPEGs by libjpeg-turbo without a detour: Pillow's pixels in less time, or nothing, so that Pillow decides."""

from PIL import Image

from maskmill.models.rgbx import image_of
from maskmill.pipeline.reading.jpeg import Script

FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Frame markers of JPEGs that are decoded here: baseline, extended and progressive, with Huffman codes."""


def decode(data: bytes, header: Image.Image, script: Script, scale: int = 1) -> Image.Image | None:
    """A JPEG's pixels as an RGB image.

    Args:
        data: the file's bytes.
        header: the image as Pillow opened it, not loaded: its size has been checked.
        script: what `jpeg.read_script` made of the bytes.
        scale: 1, 2, 4 or 8: the pixels of 1/scale of each side, rounded up.

    Returns:
        The image, not turned; None for what Pillow must decode or refuse: other colours than grey and YCbCr or RGB,
        other frames, no end, and whatever libjpeg-turbo has the least to say about.
    """
    import simplejpeg

    if header.mode not in ("L", "RGB") or script.frame not in FRAMES or script.end is None:
        return None
    height, width = -(-header.height // scale), -(-header.width // scale)
    try:
        # As strict as can be: a mere warning ends it. Four bytes a pixel are what Pillow holds.
        pixels = simplejpeg.decode_jpeg(data, "RGBX", min_height=height, min_width=width, strict=True)
    except ValueError:
        return None
    return image_of(pixels) if pixels.shape[:2] == (height, width) else None
