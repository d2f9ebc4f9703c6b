"""libjpeg-turbo without a detour against Pillow: the same pixels, the same refusals, whatever the bytes."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.reading import jpeg, turbo
from maskmill.pipeline.reading.decoding import DecodingConfig
from maskmill.pipeline.reading.errors import SampleError
from maskmill.pipeline.reading.images import Size, decode_as
from maskmill.pipeline.reading.limits import ReadLimits
from tests import hostile

KINDS = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive 4:4:4": {"progressive": True, "subsampling": 0},
    "progressive 4:2:0": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "restarts in progress": {"restart_marker_blocks": 3, "progressive": True},
    "optimised": {"optimize": True},
    "poor": {"quality": 3},
    "fine": {"quality": 100},
    "RGB kept": {"keep_rgb": True},
}
SIZES = [(1, 1), (1, 40), (40, 1), (7, 9), (16, 16), (17, 33), (48, 64), (101, 75)]
MODES = ("RGB", "L", "CMYK")


def told(data: bytes, decoder: str, least: Size | None = None) -> object:
    """Pixels and size, or the refusal."""
    config = DecodingConfig(decoder=decoder, scaled_decoding=least is not None)
    try:
        found = decode_as(data, ReadLimits(), config, lambda _: least or (0, 0))
    except SampleError as error:
        return str(error)
    return found.size, found.image.mode, found.image.size, found.image.tobytes()


def fast(data: bytes) -> bool:
    """Whether libjpeg-turbo takes the bytes, so that something is compared."""
    script = jpeg.read_script(data)
    return script is not None and turbo.decode(data, Image.open(io.BytesIO(data)), script) is not None


def jpegs(size: Size) -> Iterator[tuple[str, bytes]]:
    for mode in MODES:
        for kind, options in KINDS.items():
            if mode == "RGB" or "keep_rgb" not in options:
                yield (
                    f"{mode} {kind}",
                    hostile.encode(image=Image.fromarray(hostile.pixels(*size)).convert(mode), **options),
                )


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_pillows_for_every_kind_of_jpeg(size: Size) -> None:
    for name, data in jpegs(size):
        assert told(data, "simplejpeg") == told(data, "pillow"), name
        assert fast(data) == (not name.startswith("CMYK")), name


@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize("size", [(16, 16), (17, 33), (101, 75), (64, 203)])
def test_scaled_pixels_are_pillows_and_no_smaller_than_asked(size: Size, parts: int) -> None:
    least = -(-size[0] // parts), -(-size[1] // parts)
    for name, data in jpegs(size):
        found = told(data, "simplejpeg", least)
        assert found == told(data, "pillow", least), name
        assert found[0] == size
        assert found[2] == least[::-1], name


def test_a_scale_is_taken_only_if_neither_side_falls_below_what_is_asked() -> None:
    data = hostile.encode(image=Image.fromarray(hostile.pixels(400, 640)))
    for least, expected in [((100, 160), (160, 100)), ((101, 160), (320, 200)), ((50, 161), (320, 200)),
                            ((50, 80), (80, 50)), ((1, 1), (80, 50)), ((201, 1), (640, 400))]:  # fmt: skip
        assert told(data, "simplejpeg", least)[2] == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_as_upright_as_pillows_and_asked_about_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = hostile.encode(image=Image.fromarray(hostile.pixels(64, 160)), exif=exif)
    assert told(data, "simplejpeg") == told(data, "pillow")
    upright = (64, 160) if orientation < 5 else (160, 64)
    least = (upright[0] // 2, upright[1] // 2)
    found = told(data, "simplejpeg", least)
    assert found[0] == upright
    assert found[2] == least[::-1]
    assert found == told(data, "pillow", least)


@pytest.mark.parametrize("least", [None, (10, 10)])
def test_bad_images_are_refused_in_the_same_words(least: Size | None) -> None:
    for name, (data, reason) in hostile.image_cases().items():
        found = told(data, "simplejpeg", least)
        assert found == told(data, "pillow", least), name
        assert str(found).startswith(reason), name


@pytest.mark.parametrize("least", [None, (20, 20)])
@pytest.mark.parametrize("kind", ["4:2:0", "progressive 4:2:0", "restarts", "restarts in progress"])
def test_a_jpeg_cut_anywhere_and_closed_or_not_ends_as_with_pillow(kind: str, least: Size | None) -> None:
    data = hostile.encode(image=Image.fromarray(hostile.pixels(75, 101)), **KINDS[kind])
    for length in range(2, len(data), max(1, len(data) // 40)):
        for end in (b"", b"\xff\xd9"):
            cut = data[:length] + end
            assert told(cut, "simplejpeg", least) == told(cut, "pillow", least), (length, end)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_jpegs_end_as_with_pillow(seed: int) -> None:
    compared = sum(fast_after_damage for fast_after_damage in damaged(seed, 60))
    assert compared > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 116))
def test_thousands_of_damaged_jpegs_end_as_with_pillow(seed: int) -> None:
    assert sum(damaged(seed, 1_000)) > 0


def damaged(seed: int, count: int) -> Iterator[bool]:
    """Compare so many damaged files; of each, whether libjpeg-turbo had nothing to say."""
    rng = np.random.default_rng(seed)
    whole = [data for name, data in jpegs((33, 47)) if not name.startswith("CMYK")]
    for _ in range(count):
        data = bytearray(whole[rng.integers(len(whole))])
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(2, len(data)))
            match rng.integers(4):
                case 0:
                    data[at] ^= 1 << int(rng.integers(8))
                case 1:
                    data[at] = int(rng.integers(256))
                case 2:
                    del data[at : at + int(rng.integers(1, 9))]
                case _:
                    data[at:at] = rng.bytes(int(rng.integers(1, 9)))
        file = bytes(data)
        found = told(file, "simplejpeg")
        assert found == told(file, "pillow"), file.hex()
        yield not isinstance(found, str) and fast(file)


def test_an_image_shares_its_memory_and_is_copied_before_it_is_written_to() -> None:
    data = hostile.encode()
    script = jpeg.read_script(data)
    assert script is not None
    image = turbo.decode(data, Image.open(io.BytesIO(data)), script)
    assert image is not None
    before = np.array(image)
    other = image.copy()
    other.putpixel((0, 0), (1, 2, 3))
    assert np.array_equal(np.asarray(image), before)


def test_of_other_frames_and_colours_pillow_is_asked() -> None:
    data = hostile.encode()
    script = jpeg.read_script(data)
    header = Image.open(io.BytesIO(data))
    assert script is not None
    for frame in (0xC3, 0xC9, 0xCA, 0):
        other = jpeg.Script(frame, script.components, script.scans, script.end)
        assert turbo.decode(data, header, other) is None
    assert turbo.decode(data, header, jpeg.Script(script.frame, script.components, script.scans, None)) is None
