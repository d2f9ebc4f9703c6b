"""pycocotools is the oracle of the run-length codec, in both directions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from maskmill.models.masks import rle

SHAPES = [(1, 1), (1, 7), (7, 1), (1, 700), (700, 1), (2, 2), (8, 8), (37, 53), (64, 64), (129, 250)]

small_masks = st.tuples(st.integers(1, 4), st.integers(1, 19), st.integers(1, 19)).flatmap(
    lambda s: arrays(np.bool_, s)
)


def oracle(masks: NDArray[np.bool_]) -> list[bytes]:
    return [encoded["counts"] for encoded in coco.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))]


def random_masks(shape: tuple[int, int], count: int = 5) -> NDArray[np.bool_]:
    rng = np.random.default_rng(shape[0] * 1000 + shape[1])
    return rng.random((count, *shape)) < np.linspace(0.02, 0.98, count)[:, None, None]


def blobs(shape: tuple[int, int], count: int = 3) -> NDArray[np.bool_]:
    """Smooth regions, whose runs are long: their characters have several groups of bits."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    centre = rng.random((count, 2, 1, 1)) * np.array(shape)[None, :, None, None]
    return np.hypot(y - centre[:, 0], x - centre[:, 1]) < min(shape) / 3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["random", "empty", "full", "blobs"])
def test_encode_equals_pycocotools(shape: tuple[int, int], kind: str) -> None:
    masks = {
        "random": random_masks(shape),
        "empty": np.zeros((3, *shape), np.bool_),
        "full": np.ones((3, *shape), np.bool_),
        "blobs": blobs(shape),
    }[kind]
    assert rle.encode(torch.from_numpy(masks)) == oracle(masks)


@pytest.mark.parametrize("shape", [(5, 7), (1, 9), (9, 1)])
def test_masks_of_one_pixel_equal_pycocotools_at_every_place(shape: tuple[int, int]) -> None:
    masks = np.eye(shape[0] * shape[1], dtype=np.bool_).reshape(-1, *shape)
    assert rle.encode(torch.from_numpy(masks)) == oracle(masks)


def test_large_masks_equal_pycocotools() -> None:
    masks = blobs((1024, 777), 7)
    assert rle.encode(torch.from_numpy(masks)) == oracle(masks)


def test_masks_that_are_not_contiguous_encode_as_their_values() -> None:
    masks = torch.from_numpy(random_masks((40, 60)))
    assert rle.encode(masks.transpose(1, 2)) == oracle(masks.numpy().transpose(0, 2, 1))
    assert rle.encode(masks[:, ::2, 1:]) == oracle(masks.numpy()[:, ::2, 1:])


def test_no_masks_encode_to_nothing() -> None:
    assert rle.encode(torch.zeros(0, 5, 7, dtype=torch.bool)) == []
    assert rle.encode_and_measure(torch.zeros(0, 5, 7, dtype=torch.bool)) == []


@settings(max_examples=150, deadline=None)
@given(small_masks)
def test_any_mask_encodes_as_pycocotools_does_and_comes_back(masks: NDArray[np.bool_]) -> None:
    encoded = rle.encode(torch.from_numpy(masks))
    assert encoded == oracle(masks)
    for text, mask in zip(encoded, masks, strict=True):
        assert np.array_equal(rle.decode(text, mask.shape), mask)
    assert np.array_equal(rle.decode_all(encoded, masks.shape[1:]), masks)


@settings(max_examples=150, deadline=None)
@given(small_masks)
def test_any_area_and_bbox_are_those_of_pycocotools(masks: NDArray[np.bool_]) -> None:
    for encoded, mask in zip(rle.encode_and_measure(torch.from_numpy(masks)), masks, strict=True):
        known = {"size": list(mask.shape), "counts": encoded.rle}
        expected = int(coco.area(known)), tuple(int(edge) for edge in coco.toBbox(known))
        assert (encoded.area, encoded.bbox) == expected
        assert rle.area_and_bbox(encoded.rle, mask.shape) == expected
        rows, columns = np.nonzero(mask)
        if len(rows):
            extent = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
            assert encoded.bbox == (columns.min(), rows.min(), extent[1], extent[0])
        assert encoded.area == mask.sum()


@settings(max_examples=100, deadline=None)
@given(small_masks)
def test_areas_and_boxes_of_many_are_those_of_each(masks: NDArray[np.bool_]) -> None:
    texts = [encoded.rle for encoded in rle.encode_and_measure(torch.from_numpy(masks))]
    areas, boxes = rle.areas_and_bboxes(texts, masks.shape[1:])
    alone = [rle.area_and_bbox(text, masks.shape[1:]) for text in texts]
    assert [(area, tuple(box)) for area, box in zip(areas.tolist(), boxes.tolist(), strict=True)] == alone
    areas, boxes = rle.areas_and_bboxes([], (3, 4))
    assert (areas.shape, boxes.shape) == ((0,), (0, 4))


@pytest.mark.parametrize("shape", SHAPES)
def test_decode_reads_what_pycocotools_writes(shape: tuple[int, int]) -> None:
    masks = np.concatenate((random_masks(shape), blobs(shape), np.zeros((1, *shape), bool), np.ones((1, *shape), bool)))
    for text, mask in zip(oracle(masks), masks, strict=True):
        decoded = rle.decode(text, shape)
        assert decoded.dtype == np.bool_
        assert np.array_equal(decoded, mask)
    together = rle.decode_all(oracle(masks), shape)
    assert together.flags.c_contiguous
    assert np.array_equal(together, masks)


def test_no_masks_decode_to_none_of_their_size() -> None:
    assert rle.decode_all([], (5, 7)).shape == (0, 5, 7)


def test_runs_are_column_major_and_begin_with_zeros() -> None:
    mask = np.array([[True, False, False], [True, False, True]])
    assert rle.runs(oracle(mask[None])[0]).tolist() == [0, 2, 3, 1]


def test_runs_of_no_length_in_the_middle_are_read_as_pycocotools_reads_them() -> None:
    text = b"2021"  # runs 2, 0, 2, 1: the fourth is the second plus 1
    decoded = coco.decode({"size": [5, 1], "counts": text})
    assert np.array_equal(rle.decode(text, (5, 1)), decoded.astype(bool))
    assert np.array_equal(rle.decode_all([text, b"50"], (5, 1))[0], decoded.astype(bool))


@pytest.mark.parametrize(
    ("text", "size", "reason"),
    [
        (b"", (1, 1), "no bytes"),
        (b"4", (1, 5), "add up to 4 pixels, expected 1 x 5 = 5"),
        (b"6", (1, 5), "add up to 6"),
        (b"O1O", (1, 5), "negative"),
        (b"2/3", (1, 5), "byte 47 at position 1"),
        (b"23p", (1, 5), "byte 112 at position 2"),
        (b"2\xff", (1, 5), "byte 255"),
        (b"2\x00", (1, 5), "byte 0"),
        (b"2\n", (1, 5), "byte 10"),
        (b"2P", (1, 5), "end inside a run"),
        (b"P" * 40 + b"0", (1, 5), "a run of 41 characters"),
        (b"5", (0, 5), "expected a mask of at least one pixel"),
        (b"9", (-3, -3), "expected a mask of at least one pixel"),
        (b"oooooo?", (1 << 20, 1 << 20), "add up to"),
    ],
)
def test_malformed_bytes_are_one_line_of_reason(text: bytes, size: tuple[int, int], reason: str) -> None:
    sound = oracle(np.ones((1, *size), bool))[0] if min(size) > 0 and max(size) < 100 else b"0"
    for read in (rle.decode, rle.area_and_bbox, lambda text, size: rle.decode_all([sound, text], size)):
        with pytest.raises(ValueError, match=reason) as caught:
            read(text, size)
        assert "\n" not in str(caught.value)


def test_a_truncated_mask_never_decodes() -> None:
    text = oracle(blobs((60, 80)))[0]
    for length in range(len(text)):
        with pytest.raises(ValueError, match="run lengths"):
            rle.decode(text[:length], (60, 80))


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda b: bytes(48 + c % 64 for c in b)))
def test_arbitrary_bytes_decode_to_a_mask_or_raise_value_error(text: bytes) -> None:
    try:
        mask = rle.decode(text, (9, 11))
    except ValueError:
        return
    assert mask.shape == (9, 11)
    assert np.array_equal(mask, coco.decode({"size": [9, 11], "counts": text}).astype(bool))
    assert np.array_equal(mask, rle.decode_all([text], (9, 11))[0])


@settings(max_examples=150, deadline=None)
@given(small_masks, st.data())
def test_one_changed_byte_decodes_as_pycocotools_or_raises_value_error(
    masks: NDArray[np.bool_], data: st.DataObject
) -> None:
    text = bytearray(oracle(masks)[0])
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        mask = rle.decode(bytes(text), masks.shape[1:])
    except ValueError:
        return
    assert np.array_equal(mask, coco.decode({"size": list(masks.shape[1:]), "counts": bytes(text)}).astype(bool))


@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES)
def test_masks_on_a_gpu_encode_as_on_the_cpu(shape: tuple[int, int]) -> None:
    masks = np.concatenate((random_masks(shape), blobs(shape)))
    assert rle.encode(torch.from_numpy(masks).cuda()) == oracle(masks)
