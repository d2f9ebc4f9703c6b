"""Image bytes to RGB pixels, or the reason why not. Only JPEG, PNG and WebP, whatever a member's extension says."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageFile

from maskmill.models.errors import EnvironmentFailure
from maskmill.pipeline.reading import jpeg, png, turbo
from maskmill.pipeline.reading.decoding import DecodingConfig
from maskmill.pipeline.reading.errors import SampleError, SampleReason
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.samples import Sample, no_image

Format = Literal["JPEG", "PNG", "WEBP"]
"""What is decoded, by the names that Pillow has for it."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what turns the image upright."""


SCALES = (8, 4, 2)
"""Parts of a side to which libjpeg decodes in less time than the whole takes; the eighths between take more."""

PLAIN = DecodingConfig()
"""What is meant where nothing is said."""

Size = tuple[int, int]
"""Height, width in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoded:
    """An image as labels see it."""

    image: Image.Image
    """Upright, 8-bit RGB, fully loaded; smaller than the sample's where it was decoded so."""

    size: Size
    """Height, width of the sample's image, upright, at full scale."""


def decode_sample(sample: Sample, limits: ReadLimits) -> Image.Image:
    """A sample's image; see `decode`.

    Raises:
        SampleError: as `image_bytes` and `decode`.
    """
    return decode(image_bytes(sample), limits)


def image_bytes(sample: Sample) -> bytes:
    """The bytes of a sample's image.

    Raises:
        SampleError: missing_image, link, special_file, sparse.
    """
    if sample.image is None:
        fault = sample.fault or no_image(sample.extensions)
        raise SampleError(fault.reason, fault.detail)
    return sample.image


def decode(data: bytes, limits: ReadLimits) -> Image.Image:
    """Decode an image as labels see it: upright, 8-bit RGB, fully loaded. Safe to call from many threads.

    EXIF orientation is applied. Transparent pixels are laid on white, as pages show them. 16-bit samples keep their
    high byte. CMYK is converted by the plain formula, with Adobe's inversion, which all its writers follow; colour
    profiles are ignored. Of an animation or a multi-picture file the first picture is taken.

    Args:
        data: the member's bytes.
        limits: `max_pixels` applies, to the size that the header declares and before memory is taken.

    Raises:
        SampleError: empty, unknown_format, too_large, truncated, decode.
    """
    return decode_as(data, limits, PLAIN).image


def decode_as(
    data: bytes, limits: ReadLimits, decoding: DecodingConfig, least: Callable[[Size], Size] | None = None
) -> Decoded:
    """What `decode` gives, by the decoder that is asked for, and as small as that allows.

    Args:
        data: as for `decode`.
        limits: likewise.
        decoding: nvjpeg is taken for simplejpeg: nothing is decoded on a GPU here.
        least: given the upright image's height and width at full scale, those that it must at least have in the end;
            only asked where decoding may scale.

    Raises:
        SampleError: as `decode`.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        # Some libraries set it for the whole process; truncated images would turn into grey pixels with labels.
        raise EnvironmentFailure("PIL.ImageFile.LOAD_TRUNCATED_IMAGES was set to True by another package; unset it.")
    if not data:
        raise SampleError("empty", "the image member has no bytes")
    name = _format(data)
    try:
        image = _open(name, data, limits)
        if name != "JPEG":
            image.load()
            if name == "PNG" and (why := png.ends_early(image, data)):
                raise SampleError("truncated", f"{name}: {why}")
            upright = _upright(image, turn_of(image))
            return Decoded(image=upright, size=(upright.height, upright.width))
        turn = turn_of(image)
        size = _turned((image.height, image.width), turn)
        scale = _scale(size, least(size)) if decoding.scaled_decoding and least is not None else 1
        whole = _jpeg(image, data, scale, fast=decoding.decoder != "pillow")
        return Decoded(image=_upright(whole, turn), size=size)
    except (SampleError, MemoryError):
        raise
    except Exception as error:  # Pillow raises by the dozen of kinds on hostile data
        reason: SampleReason = "truncated" if _ends_early(name, data) or "truncated" in str(error) else "decode"
        raise SampleError(reason, f"{name}: {type(error).__name__}: {error}") from error


def _jpeg(header: ImageFile.ImageFile, data: bytes, scale: int, *, fast: bool) -> Image.Image:
    """A JPEG's pixels, by libjpeg-turbo where it has nothing to complain about, else by Pillow."""
    script = jpeg.read_script(data)
    image = turbo.decode(data, header, script, scale) if fast and script else None
    if image is None:
        if scale > 1:
            header.draft(None, (header.width // scale, header.height // scale))
        header.load()
        image = header
    if script and (why := jpeg.ends_early(image, data, script)):
        raise SampleError("truncated", f"JPEG: {why}")
    return image


def _scale(size: Size, least: Size) -> int:
    """Into how many parts each side may be divided so that no side falls below the least."""
    height, width = size
    return next((n for n in SCALES if -(-height // n) >= least[0] and -(-width // n) >= least[1]), 1)


def _format(data: bytes) -> Format:
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    raise SampleError("unknown_format", f"the bytes begin with {data[:8].hex(' ')}: not JPEG, PNG or WebP")


def _open(name: Format, data: bytes, limits: ReadLimits) -> ImageFile.ImageFile:
    """The image with its header read, by its class: the size check of Image.open is global and at first only warns."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    if name == "WEBP":
        # libwebp takes memory for two canvases when the file is opened.
        check_size(_webp_size(data), limits)
    file = BytesIO(data)
    image = JpegImageFile(file) if name == "JPEG" else PngImageFile(file) if name == "PNG" else WebPImageFile(file)
    check_size(image.size, limits)
    return image


def check_size(size: tuple[int, int], limits: ReadLimits) -> None:
    """Refuse an image of this width, height that has more pixels than the limit.

    Raises:
        SampleError: too_large.
    """
    width, height = size
    if width * height > limits.max_pixels:
        raise SampleError("too_large", f"{width} x {height} pixels, more than {limits.max_pixels:,} (--max-pixels)")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width, height in a WebP's first chunk. Source: WebP container specification; RFC 6386 9.1 for VP8."""
    kind, body = data[12:16], data[20:30]
    if len(body) == 10:
        if kind == b"VP8X":
            return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
        if kind == b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        if kind == b"VP8 ":
            width, height = struct.unpack("<HH", body[6:10])
            return width & 0x3FFF, height & 0x3FFF
    raise ValueError(f"no image in the first chunk {kind!r}")


# --- pixels ----------------------------------------------------------------------------------------------------------


def _upright(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    rgb = _rgb(image) if turn is None else _rgb(image).transpose(turn)
    rgb.info = {}  # with its EXIF gone, nobody turns it twice
    return rgb


def _turned(size: Size, turn: Image.Transpose | None) -> Size:
    """Height, width after a turn."""
    kept = turn is None or turn in (
        Image.Transpose.FLIP_LEFT_RIGHT,
        Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.ROTATE_180,
    )
    return size if kept else (size[1], size[0])


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What turns an opened image upright, by its EXIF orientation; None where it stands so."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION))  # type: ignore[arg-type]
    except Exception:  # broken EXIF is common and says nothing about the pixels
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    transparent = image.info.get("transparency")
    if isinstance(transparent, tuple) and max(transparent) > 255:
        # The transparent colour of a 16-bit RGB PNG, whose pixels Pillow has cut to their high byte.
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        page = Image.new("RGB", whole.size, "white")
        page.paste(whole, mask=whole.getchannel("A"))
        return page
    # Nothing of a file is open any more, so that the image may be handed on as it is.
    return image if type(image) is Image.Image and image.mode == "RGB" else image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """16-bit grey as RGB. Pillow's own conversion clips at 255, which makes white of nearly everything."""
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _ends_early(name: Format, data: bytes) -> bool:
    """Whether a file that could not be decoded lacks its end."""
    if name == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return (b"IEND" if name == "PNG" else b"\xff\xd9") not in data[-4096:]
