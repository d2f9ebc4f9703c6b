import io
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageFile

from maskmill.models.errors import EnvironmentFailure
from maskmill.pipeline.reading.errors import SampleError
from maskmill.pipeline.reading.images import decode, decode_sample
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.samples import Sample
from tests import hostile

LIMITS = ReadLimits()


def array(data: bytes) -> np.ndarray:
    image = decode(data, LIMITS)
    assert image.mode == "RGB"
    return np.asarray(image)


def reason(data: bytes, limits: ReadLimits = LIMITS) -> str:
    with pytest.raises(SampleError) as raised:
        decode(data, limits)
    return raised.value.reason


@pytest.mark.parametrize("name", sorted(hostile.image_cases()))
def test_a_bad_image_is_a_failed_sample_with_its_reason(name: str) -> None:
    data, expected = hostile.image_cases()[name]
    assert reason(data) == expected


def test_a_sample_without_an_image_says_what_it_has() -> None:
    sample = Sample(
        key="a", index=0, image=None, image_name=None, caption=None, extensions=("0001.jpg", "txt"), fields={}
    )
    with pytest.raises(SampleError, match=r"missing_image: .* 0001\.jpg, txt"):
        decode_sample(sample, LIMITS)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_pixels_are_pillows(format: str) -> None:
    data = hostile.encode(format)
    assert np.array_equal(array(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_file_cut_anywhere_fails_or_has_all_its_pixels(format: str) -> None:
    data = hostile.encode(format)
    whole = array(data)
    for length in range(0, len(data) - 16, max(1, len(data) // 60)):
        assert reason(data[:length]) in ("empty", "unknown_format", "truncated"), length
    for length in range(len(data) - 16, len(data)):  # the last bytes may be checksums and end marks
        with suppress(SampleError):
            assert np.array_equal(array(data[:length]), whole), length


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_an_image_is_turned_upright(format: str, orientation: int) -> None:
    # EXIF 2.3, tag 0x0112: where the stored row 0 and column 0 belong in the upright image.
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = (255, 0, 0)
    upright[:16, 24:] = (0, 255, 0)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    data = hostile.encode(format, Image.fromarray(np.ascontiguousarray(stored)), exif=exif.tobytes(), **options)
    turned = array(data)
    assert turned.shape == upright.shape
    assert np.abs(turned.astype(int) - upright).mean() < 3
    assert not decode(data, LIMITS).getexif()


@pytest.mark.parametrize("exif", [b"Exif\x00\x00garbage", b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"\x00" * 40])
def test_broken_exif_turns_nothing(exif: bytes) -> None:
    data = hostile.encode(exif=exif)
    assert np.array_equal(array(data), np.asarray(Image.open(io.BytesIO(hostile.encode()))))


def test_cmyk_is_converted_with_adobes_inversion() -> None:
    red = Image.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK")
    assert np.abs(array(hostile.encode(image=red, quality=95)).astype(int) - (255, 0, 0)).max() < 8


def test_grey_and_bilevel_images_are_rgb() -> None:
    grey = Image.fromarray(hostile.pixels()).convert("L")
    for image in (grey, grey.convert("1")):
        assert np.array_equal(array(hostile.encode("PNG", image)), np.asarray(image.convert("RGB")))


def test_a_palette_gives_its_colours() -> None:
    image = Image.fromarray(hostile.pixels()).convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.array_equal(array(hostile.encode("PNG", image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_transparent_pixels_are_white_and_half_transparent_ones_mixed(format: str) -> None:
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 255))
    image.putpixel((0, 0), (200, 0, 0, 0))
    image.putpixel((1, 0), (200, 0, 0, 128))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    pixels = array(hostile.encode(format, image, **options))
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    assert np.abs(pixels[0, 1].astype(int) - (227, 127, 127)).max() <= 1
    assert tuple(pixels[3, 3]) == (200, 0, 0)


def test_a_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([9, 9, 9, 0, 0, 200])
    image.putpixel((0, 0), 0)
    pixels = array(hostile.encode("PNG", image, transparency=0))
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    assert tuple(pixels[1, 1]) == (0, 0, 200)


def test_a_transparent_colour_is_white() -> None:
    image = Image.new("RGB", (4, 4), (0, 0, 200))
    image.putpixel((0, 0), (9, 9, 9))
    pixels = array(hostile.encode("PNG", image, transparency=(9, 9, 9)))
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    assert tuple(pixels[1, 1]) == (0, 0, 200)


_VALUES = np.arange(64, dtype=np.uint16) * 1040


def test_16_bit_grey_keeps_its_high_byte() -> None:
    rows = b"".join(b"\x00" + _VALUES.astype(">u2").tobytes() for _ in range(3))
    pixels = array(hostile.png(64, 3, 16, 0, rows))
    assert np.array_equal(pixels, np.broadcast_to((_VALUES >> 8)[None, :, None], (3, 64, 3)))


def test_16_bit_grey_with_a_transparent_value_is_white_there() -> None:
    rows = b"\x00" + _VALUES.astype(">u2").tobytes()
    transparent = hostile.png_chunk(b"tRNS", struct.pack(">H", int(_VALUES[5])))
    pixels = array(hostile.png(64, 1, 16, 0, rows, transparent))
    assert list(pixels[0, 4:7, 0]) == [int(_VALUES[4] >> 8), 255, int(_VALUES[6] >> 8)]


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_colours_keep_their_high_byte(colour: int, channels: int) -> None:
    values = np.repeat(_VALUES[None, :, None], channels, axis=2)
    if channels in (2, 4):
        values[..., -1] = 65535
    pixels = array(hostile.png(64, 1, 16, colour, b"\x00" + values.astype(">u2").tobytes()))
    assert np.array_equal(pixels, np.broadcast_to((_VALUES >> 8)[None, :, None], (1, 64, 3)))


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_of_an_animation_the_first_picture_is_taken(format: str) -> None:
    first, second = Image.new("RGB", (8, 8), (250, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 250))
    options = {"lossless": True} if format == "WEBP" else {}
    data = hostile.encode(format, first, save_all=True, append_images=[second], **options)
    assert tuple(array(data)[4, 4]) == (250, 0, 0)


def test_of_a_multi_picture_file_the_first_is_taken() -> None:
    first, second = Image.fromarray(hostile.pixels(seed=1)), Image.new("RGB", (8, 8))
    data = hostile.encode("MPO", first, save_all=True, append_images=[second])
    assert array(data).shape == (48, 64, 3)


def test_the_bytes_decide_and_not_the_name() -> None:
    assert reason(hostile.encode("TIFF")) == "unknown_format"
    assert reason(hostile.encode("BMP")) == "unknown_format"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_the_limit_counts_pixels_of_the_header(format: str) -> None:
    data = hostile.encode(format)
    assert decode(data, ReadLimits(max_pixels=64 * 48)).size == (64, 48)
    assert reason(data, ReadLimits(max_pixels=64 * 48 - 1)) == "too_large"


@pytest.mark.parametrize("lossless", [True, False])
def test_the_size_in_a_webps_header_is_found_in_each_kind(lossless: bool) -> None:
    for mode in ("RGB", "RGBA"):
        data = hostile.encode("WEBP", Image.new(mode, (300, 200)), lossless=lossless)
        assert reason(data, ReadLimits(max_pixels=300 * 200 - 1)) == "too_large"
        assert decode(data, ReadLimits(max_pixels=300 * 200)).size == (300, 200)


def test_pillows_own_settings_are_not_touched() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, dict(Image.OPEN))
    for data, _ in hostile.image_cases().values():
        reason(data)
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, dict(Image.OPEN)) == before


def test_a_process_that_tolerates_truncated_images_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(EnvironmentFailure, match="LOAD_TRUNCATED_IMAGES"):
        decode(hostile.encode(), LIMITS)


def test_many_threads_decode_alike() -> None:
    files = [hostile.encode(format, Image.fromarray(hostile.pixels(seed=n))) for n in range(8)
             for format in ("JPEG", "PNG", "WEBP")]  # fmt: skip
    expected = [array(data) for data in files]
    started = threading.Barrier(8)

    def work(_: int) -> bool:
        started.wait()
        return all(np.array_equal(array(data), pixels) for data, pixels in zip(files, expected, strict=True))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(8)))
