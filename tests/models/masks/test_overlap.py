"""Overlaps told from runs are those of the pixels, by NumPy and by pycocotools."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from maskmill.models.masks import overlap, rle
from maskmill.models.masks.overlap import Stretches, ious, mirrored, stretches

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


def pixels(masks: Stretches) -> np.ndarray:
    """What stretches stand for, painted one by one: bool [N, height, width]."""
    height, width = masks.size
    flat = np.zeros(len(masks.counts) * height * width, int)
    for start, stop in zip(masks.starts, masks.stops, strict=True):
        assert stop > start
        flat[start:stop] += 1
    assert flat.max(initial=0) <= 1, "stretches overlap"
    assert (np.diff(masks.starts) > 0).all()
    assert masks.counts.sum() == len(masks.starts)
    return flat.reshape(-1, width, height).transpose(0, 2, 1).astype(bool)


def all_pairs(first: int, second: int) -> np.ndarray:
    return np.argwhere(np.ones((first, second)))


@pytest.mark.parametrize("shape", SHAPES)
def test_stretches_are_the_masks_pixels(shape):
    masks = some_masks(shape, 1)
    found = stretches(encoded(masks), shape)
    assert np.array_equal(pixels(found), masks)
    assert found.areas.tolist() == masks.sum((1, 2)).tolist()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mirrored_mask_is_the_mask_from_right_to_left(shape):
    masks = some_masks(shape, 2)
    turned = mirrored(stretches(encoded(masks), shape))
    assert np.array_equal(pixels(turned), masks[:, :, ::-1])
    assert turned.areas.tolist() == masks.sum((1, 2)).tolist()
    assert np.array_equal(pixels(mirrored(turned)), masks)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("at_once", [1, 50, overlap.STRETCHES])
def test_ious_are_pycocotools(shape, at_once, monkeypatch):
    monkeypatch.setattr(overlap, "STRETCHES", at_once)
    masks, others = some_masks(shape, 3), some_masks(shape, 4)[1:]
    dt, gt = ([{"size": list(shape), "counts": one} for one in encoded(each)] for each in (masks, others))
    # Of two empty masks pycocotools says not a number; an empty mask overlaps nothing.
    theirs = np.nan_to_num(coco.iou(dt, gt, [False] * len(gt)))
    pairs = all_pairs(len(masks), len(others))
    ours = ious(stretches(encoded(masks), shape), stretches(encoded(others), shape), pairs)
    assert ours.dtype == np.float64
    assert np.array_equal(ours.reshape(theirs.shape), theirs)
    some = pairs[np.random.default_rng(0).permutation(len(pairs))[:7]]
    assert ious(stretches(encoded(masks), shape), stretches(encoded(others), shape), some).tolist() == [
        theirs[place, other] for place, other in some
    ]


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_of_any_masks_the_ious_are_those_of_their_pixels(height, width, data):
    flat = st.lists(st.booleans(), min_size=height * width, max_size=height * width)
    drawn = [np.array(data.draw(st.lists(flat, max_size=3)), bool).reshape(-1, height, width) for _ in range(2)]
    masks, others = drawn
    held, seen = (stretches(encoded(each) if len(each) else [], (height, width)) for each in drawn)
    expected = [(mask & other).sum() / max((mask | other).sum(), 1) for mask in masks for other in others[:, :, ::-1]]
    assert ious(held, mirrored(seen), all_pairs(len(masks), len(others))).tolist() == expected


def test_no_masks_have_no_stretches_and_no_pairs_no_ious():
    nothing = stretches([], (2, 2))
    assert (nothing.starts.tolist(), nothing.counts.tolist(), nothing.areas.tolist()) == ([], [], [])
    assert mirrored(nothing).counts.tolist() == []
    assert ious(nothing, nothing, all_pairs(0, 0)).tolist() == []


def test_what_is_no_mask_is_refused():
    with pytest.raises(ValueError, match="add up to 4 pixels"):
        stretches(encoded(np.ones((1, 2, 2), bool)), (2, 3))
