"""Which JPEGs a GPU decodes; the decoding itself runs where there is a GPU."""

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.pipeline.reading.errors import SampleError
from maskmill.pipeline.reading.images import decode
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.nvjpeg import decode as decode_on_gpu
from maskmill.pipeline.reading.nvjpeg import is_plain
from tests import hostile


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return hostile.encode(exif=exif)


PLAIN = {
    "4:4:4": hostile.encode(subsampling=0),
    "4:2:2": hostile.encode(subsampling=1),
    "4:2:0": hostile.encode(subsampling=2),
    "restarts": hostile.encode(restart_marker_rows=1),
}
OTHERS = {
    "progressive": hostile.encode(progressive=True),
    "grey": hostile.encode(image=Image.fromarray(hostile.pixels()).convert("L")),
    "CMYK": hostile.encode(image=Image.fromarray(hostile.pixels()).convert("CMYK")),
    "RGB kept": hostile.encode(keep_rgb=True),
    "turned": turned(),
    "PNG": hostile.encode("PNG"),
    "no end": hostile.encode()[:-2],
    "no JPEG": b"\xff\xd8\xff" + bytes(40),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_jpegs_are_for_the_gpu(name: str) -> None:
    assert is_plain(PLAIN[name], ReadLimits())


@pytest.mark.parametrize("name", OTHERS)
def test_all_else_is_for_the_cpu(name: str) -> None:
    assert not is_plain(OTHERS[name], ReadLimits())
    assert decode_on_gpu(OTHERS[name], ReadLimits(), torch.device("cuda")) is None


def test_a_jpeg_beyond_the_limit_is_refused_before_a_gpu_sees_it() -> None:
    with pytest.raises(SampleError, match="too_large"):
        decode_on_gpu(hostile.huge_jpeg(), ReadLimits(), torch.device("cuda"))


@pytest.mark.gpu
@pytest.mark.parametrize("name", PLAIN)
def test_a_gpus_pixels_are_near_pillows(name: str) -> None:
    pixels = decode_on_gpu(PLAIN[name], ReadLimits(), torch.device("cuda"))
    assert pixels is not None
    expected = np.asarray(decode(PLAIN[name], ReadLimits())).astype(int)
    difference = np.abs(pixels.permute(1, 2, 0).cpu().numpy().astype(int) - expected)
    # Upsampling of colour isn't prescribed by the standard; without it only rounding differs.
    assert difference.mean() < (1 if name == "4:4:4" else 3)
    assert difference.max() <= (4 if name == "4:4:4" else 40)


@pytest.mark.gpu
def test_a_jpeg_cut_off_and_closed_fails_on_a_gpu_as_on_a_cpu() -> None:
    cut = hostile.early_end(hostile.encode(quality=90))
    assert decode_on_gpu(cut, ReadLimits(), torch.device("cuda")) is None
