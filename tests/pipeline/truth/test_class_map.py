"""Ground truth PNGs of each kind that data sets use, and those that are refused."""

import io

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.reading.errors import SampleError
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.truth.class_map import decode_class_map

LIMITS = ReadLimits()


def png(pixels: np.ndarray, palette: bool = False) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette([i % 251 for i in range(768)])
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("palette", [False, True])
def test_ids_of_8_bits_with_255_as_not_labeled(palette):
    ids = decode_class_map(png(np.array([[0, 7], [170, 255]], np.uint8), palette), 171, LIMITS)
    assert ids.tolist() == [[0, 7], [170, -1]]


def test_ids_of_16_bits_with_65535_as_not_labeled():
    ids = decode_class_map(png(np.array([[0, 255], [846, 65535]], np.uint16)), 847, LIMITS)
    assert ids.tolist() == [[0, 255], [846, -1]]


def test_coco_stuffs_own_numbers_become_ids_of_its_label_set():
    from maskmill.models.vocabulary import Vocabulary

    vocabulary = Vocabulary.load("coco-stuff-171")
    # Category ids of COCO-Stuff's labels.txt, less 1; 255 is not labeled.
    known = {
        0: "person",
        13: "parking meter",
        43: "bottle",
        89: "toothbrush",
        91: "banner",
        181: "wood",
        156: "sky-other",
    }
    ids = decode_class_map(png(np.array([[*known, 255, 11]], np.uint8)), 171, LIMITS, "coco-stuff")[0]
    assert [vocabulary[i].name for i in ids[:-2]] == list(known.values())
    assert ids[-2:].tolist() == [-1, -1]
    with pytest.raises(SampleError, match="COCO-Stuff's numbers end at 181"):
        decode_class_map(png(np.array([[182]], np.uint8)), 171, LIMITS, "coco-stuff")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (png(np.zeros((2, 2, 3), np.uint8)), "mode RGB"),
        (b"GIF89a", "not a PNG"),
        (png(np.zeros((4, 4), np.uint8))[:40], "decode"),
        (png(np.full((2, 2), 48, np.uint8)), "class id 48, the vocabulary has 48"),
    ],
)
def test_what_is_no_class_map_is_refused(data, said):
    with pytest.raises(SampleError, match=said):
        decode_class_map(data, 48, LIMITS)


def test_a_header_that_declares_too_many_pixels_is_refused_before_decoding():
    with pytest.raises(SampleError, match="too_large"):
        decode_class_map(png(np.zeros((40, 40), np.uint8)), 48, ReadLimits(max_pixels=1000))
