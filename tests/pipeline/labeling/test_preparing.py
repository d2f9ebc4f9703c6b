"""Pixels as the model gets them, and sizes as the table names them, whatever decodes."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.models.resize import ResizeRule
from maskmill.pipeline.config import LabelConfig
from maskmill.pipeline.labeling.preparing import prepare
from maskmill.pipeline.reading.decoding import DecodingConfig
from maskmill.pipeline.reading.errors import SampleError
from maskmill.pipeline.reading.samples import Sample
from tests import hostile

CPU = torch.device("cpu")
RULE = ResizeRule(short_side=64, long_side_cap=256)


def sample(image: bytes | None) -> Sample:
    return Sample(key="a", index=0, image=image, image_name="a.jpg", caption=None, extensions=("jpg",), fields={})


def prepared(image: bytes | None, **decoding: object):
    return prepare(sample(image), RULE, LabelConfig(decoding=DecodingConfig(**decoding)), CPU)


def scene() -> Image.Image:
    return Image.fromarray(hostile.pixels(297, 401)).resize((401, 297))


@pytest.mark.parametrize("decoder", ["simplejpeg", "pillow"])
def test_the_default_is_pillows_decoding_and_pillows_resizing(decoder: str) -> None:
    data = hostile.encode(image=scene())
    size, pixels = prepared(data, decoder=decoder)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.resize((86, 64), Image.Resampling.BILINEAR))
    assert size == (297, 401)
    assert np.array_equal(pixels, expected)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    "decoding",
    [{}, {"scaled_decoding": True}, {"resize": "torch"}, {"scaled_decoding": True, "resize": "torch"}],
    ids=str,
)
def test_sizes_are_the_same_however_it_is_decoded_and_pixels_nearly(decoding: dict, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = hostile.encode(image=scene(), exif=exif)
    plain_size, plain = prepared(data)
    size, pixels = prepared(data, **decoding)
    assert size == plain_size == ((297, 401) if orientation == 1 else (401, 297))
    assert pixels.shape == plain.shape
    assert np.abs(pixels.astype(int) - plain).mean() < 4


def test_a_sample_without_an_image_says_so() -> None:
    with pytest.raises(SampleError, match="missing_image"):
        prepared(None)
    with pytest.raises(SampleError, match="empty"):
        prepared(b"")
