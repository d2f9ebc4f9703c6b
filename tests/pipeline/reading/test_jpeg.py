import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.reading.errors import SampleError
from maskmill.pipeline.reading.images import decode
from maskmill.pipeline.reading.jpeg import read_script
from maskmill.pipeline.reading.limits import ReadLimits
from tests import hostile

KINDS = {
    "sequential": {},
    "full colour": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "optimised": {"optimize": True},
    "poor": {"quality": 5},
}
MODES = ("RGB", "L", "CMYK")


def jpeg(mode: str, kind: str, size: tuple[int, int] = (75, 101)) -> bytes:
    return hostile.encode(image=Image.fromarray(hostile.pixels(*size)).convert(mode), **KINDS[kind])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_jpeg_passes(mode: str, kind: str) -> None:
    assert decode(jpeg(mode, kind), ReadLimits()).size == (101, 75)


@pytest.mark.parametrize("grey", [127, 128, 129])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_jpeg_that_is_mid_grey_passes(mode: str, kind: str, grey: int) -> None:
    image = Image.fromarray(np.full((75, 101, 3), grey, np.uint8)).convert(mode)
    assert decode(hostile.encode(image=image, **KINDS[kind]), ReadLimits()).size == (101, 75)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "progressive"])
def test_a_jpeg_closed_early_is_truncated(mode: str, kind: str, share: float) -> None:
    data = jpeg(mode, kind)
    start = data.index(b"\xff\xda")
    cut = data[: start + 14 + int((len(data) - start - 14) * share)] + b"\xff\xd9"
    with pytest.raises(SampleError, match="truncated"):
        decode(cut, ReadLimits())


@pytest.mark.parametrize("mode", MODES)
def test_a_progressive_jpeg_closed_before_its_details_is_truncated(mode: str) -> None:
    data = jpeg(mode, "progressive")
    scans = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    for at in scans[1:4]:
        with pytest.raises(SampleError, match="truncated"):
            decode(data[:at] + b"\xff\xd9", ReadLimits())


def test_data_after_the_end_is_nobodys_business() -> None:
    data = jpeg("RGB", "sequential")
    assert decode(data + b"trailing \xff\xd9 bytes", ReadLimits()).size == (101, 75)


def test_a_preview_inside_the_exif_is_not_the_image() -> None:
    preview = hostile.encode(image=Image.new("RGB", (8, 8), (128, 128, 128)))
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00" + bytes(4) + preview
    data = hostile.encode(exif=exif)
    script = read_script(data)
    assert script is not None
    assert script.end == len(data) - 2
    assert decode(data, ReadLimits()).size == (64, 48)


def test_scans_are_read_as_the_encoder_wrote_them() -> None:
    script = read_script(jpeg("RGB", "progressive"))
    assert script is not None
    assert script.progressive
    assert script.components == b"\x01\x02\x03"
    # libjpeg's own script for YCbCr, jcparam.c: DC first, then spectral selection with one bit left to refine.
    assert [(scan.first, scan.last, scan.low_bit) for scan in script.scans] == [
        (0, 0, 1), (1, 5, 2), (1, 63, 1), (1, 63, 1), (6, 63, 2),
        (1, 63, 1), (0, 0, 0), (1, 63, 0), (1, 63, 0), (1, 63, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("data", [b"\xff\xd8\xff", b"\xff\xd8\xff\xda\x00\x03\x01", b"\xff\xd8" + b"\xff" * 1000, b""])
def test_markers_without_sense_end_the_search(data: bytes) -> None:
    script = read_script(data)
    assert script is None or script.end is None
