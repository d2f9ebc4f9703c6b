"""Overlaps told from runs are those of the pixels, by NumPy and by pycocotools."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from models.masks import rle
from models.masks.overlap import Pieces, best_ious, mirrored, pieces

SHAPES = [(1, 1), (1, 40), (40, 1), (7, 9), (33, 64)]


def some_masks(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Empty, full, noise of several densities, and blocks that touch the edges: bool [12, height, width]."""
    random = np.random.default_rng(seed)
    masks = [np.zeros(shape, bool), np.ones(shape, bool)]
    masks += [random.random(shape) < density for density in (0.02, 0.3, 0.5, 0.9)]
    for _ in range(6):
        block = np.zeros(shape, bool)
        (top, bottom), (left, right) = (sorted(random.integers(0, side + 1, 2)) for side in shape)
        block[top:bottom, left:right] = True
        masks.append(block)
    return np.array(masks)


def encoded(masks: np.ndarray) -> list[bytes]:
    return rle.encode(torch.from_numpy(masks))


def pixels(mask: Pieces, shape: tuple[int, int]) -> np.ndarray:
    """What stretches stand for, painted one by one."""
    flat = np.zeros(shape[0] * shape[1], int)
    for start, stop in zip(mask.starts, mask.stops, strict=True):
        flat[start:stop] += 1
    assert flat.max(initial=0) <= 1, "stretches overlap"
    assert (np.diff(mask.starts) >= 0).all()
    return flat.reshape(shape[1], shape[0]).T.astype(bool)


@pytest.mark.parametrize("shape", SHAPES)
def test_stretches_are_the_masks_pixels(shape):
    masks = some_masks(shape, 1)
    for mask, found in zip(masks, pieces(encoded(masks), shape), strict=True):
        assert np.array_equal(pixels(found, shape), mask)
        assert found.area == mask.sum()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mirrored_mask_is_the_mask_from_right_to_left(shape):
    masks = some_masks(shape, 2)
    for mask, found in zip(masks, pieces(encoded(masks), shape), strict=True):
        turned = mirrored(found, shape)
        assert np.array_equal(pixels(turned, shape), mask[:, ::-1])
        assert turned.area == found.area
        assert np.array_equal(pixels(mirrored(turned, shape), shape), mask)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_best_iou_is_pycocotools(shape):
    masks, others = some_masks(shape, 3), some_masks(shape, 4)[1:]
    dt, gt = ([{"size": list(shape), "counts": one} for one in encoded(each)] for each in (masks, others))
    # Of two empty masks pycocotools says not a number; an empty mask overlaps nothing.
    theirs = np.nan_to_num(coco.iou(dt, gt, [False] * len(gt))).max(1)
    ours = best_ious(pieces(encoded(masks), shape), pieces(encoded(others), shape))
    assert ours.dtype == np.float64
    assert np.array_equal(ours, theirs)


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_of_any_masks_the_best_iou_is_that_of_their_pixels(height, width, data):
    flat = st.lists(st.booleans(), min_size=height * width, max_size=height * width)
    drawn = [np.array(data.draw(st.lists(flat, max_size=3)), bool).reshape(-1, height, width) for _ in range(2)]
    masks, others = drawn
    turned = others[:, :, ::-1]
    held, seen = (pieces(encoded(each), (height, width)) if len(each) else [] for each in drawn)
    expected = [
        max(((mask & other).sum() / max((mask | other).sum(), 1) for other in turned), default=0.0) for mask in masks
    ]
    assert best_ious(held, [mirrored(mask, (height, width)) for mask in seen]).tolist() == expected


def test_no_masks_have_no_overlaps():
    (one,) = pieces(encoded(np.ones((1, 2, 2), bool)), (2, 2))
    assert best_ious([], [one]).tolist() == []
    assert best_ious([one], []).tolist() == [0.0]
    assert pieces([], (2, 2)) == []


def test_what_is_no_mask_is_refused():
    with pytest.raises(ValueError, match="add up to 4 pixels"):
        pieces(encoded(np.ones((1, 2, 2), bool)), (2, 3))
