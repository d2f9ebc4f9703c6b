"""The resize rule against the released evaluation's pixels (tests/data/golden/san/preproc.*)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.models.resize import ResizeRule, SlidingRule, batch_of, mask_size, usual_sizes
from tests.golden_rule import image

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "san"
SEED = 7
STORED = slice(3, None, 16)
"""Rows and columns of the resized image that the golden file keeps."""


@pytest.mark.parametrize("shape", [(480, 641), (375, 500), (700, 333), (300, 1500), (640, 640)])
def test_pixels_equal_the_released_evaluation(shape):
    name = f"d2eval_{shape[0]}x{shape[1]}"
    described = json.loads((GOLDEN / "preproc.json").read_text())[name]
    resized = ResizeRule().apply(Image.fromarray(image(*shape, SEED)))
    assert list(resized.shape) == described["out"]
    assert resized.mean() == pytest.approx(described["mean"], abs=1e-9)
    np.testing.assert_array_equal(resized[STORED, STORED], np.load(GOLDEN / "preproc.npz")[name])


@pytest.mark.parametrize(("size", "padded"), [((640, 855), (640, 864)), ((1, 1), (32, 32)), ((64, 96), (64, 96))])
def test_padding_goes_up_to_the_multiple(size, padded):
    assert ResizeRule().padded(size) == padded


def test_a_batch_holds_each_image_in_its_upper_left_corner():
    rule = ResizeRule(short_side=20, long_side_cap=60, multiple=16)
    images = [image(20, 30, 1), image(25, 20, 2)]
    batch = batch_of(images, [(20, 30), (25, 20)], rule)
    assert tuple(batch.pixels.shape) == (2, 3, 32, 32)
    assert batch.sizes == ((20, 30), (25, 20))
    for pixels, one in zip(batch.pixels, images, strict=True):
        np.testing.assert_array_equal(pixels[:, : one.shape[0], : one.shape[1]].permute(1, 2, 0).numpy(), one)


def test_masks_are_never_larger_than_the_image_nor_empty():
    assert mask_size((100, 50), 1024) == (100, 50)
    assert mask_size((4096, 2048), 1024) == (1024, 512)
    assert mask_size((1, 5000), 1024) == (1, 1024)


SLIDING = SlidingRule(scale=2.0)


@pytest.mark.parametrize(
    ("shape", "size", "windows"),
    [
        ((3000, 4000), (1280, 1707), 12),  # large enough: twice the usual size
        ((4000, 4000), (1280, 1280), 9),
        ((960, 1280), (960, 1280), 6),  # not beyond its own size
        ((700, 640), (700, 640), None),  # the usual size is no smaller
        ((480, 640), (640, 853), None),  # enlarged as usual, no further
        ((300, 4000), (300, 4000), 9),  # the cap of the long side made it small
        ((500, 9000), (284, 5120), 12),
        ((200, 2000), (256, 2560), None),
    ],
)
def test_sliding_windows_keep_more_pixels_of_images_that_have_them(shape, size, windows):
    assert SLIDING.size(shape) == size
    grid = SLIDING.grid(size)
    assert (None if grid is None else len(grid)) == windows
    if grid is None:
        assert ResizeRule().size(shape) == size
        assert SLIDING.padded(size) == ResizeRule().padded(size)


@pytest.mark.parametrize("height", range(90, 700, 53))
@pytest.mark.parametrize("width", range(90, 1700, 171))
def test_windows_lie_in_the_padded_image_and_equal_padding_is_an_equal_grid(height, width):
    rule = SlidingRule(short_side=128, long_side_cap=512, multiple=16, scale=1.7)
    size = rule.size((height, width))
    padded = rule.padded(size)
    assert size[0] <= padded[0]
    assert size[1] <= padded[1]
    grid = rule.grid(size)
    if grid is None:
        assert rule.in_batch(size, 8) == 8
        assert max(padded) <= 512
        assert min(padded) <= 128
    else:
        assert max(padded) > 512 or min(padded) > 128
        assert len(rule.grid(padded)) == len(grid)
        assert rule.in_batch(size, 8) == 2  # 8 / 1.7^2


def test_pinned_memory_changes_no_byte_of_a_batch():
    """Where there is no GPU it is ordinary memory; padding is zero although the memory was somebody's before."""
    images = [np.random.default_rng(n).integers(0, 255, (30 + n, 40 - n, 3), np.uint8) for n in range(3)]
    torch.full((3, 32, 64, 3), 255, dtype=torch.uint8)
    plain, pinned = (batch_of(images, [(9, 9)] * 3, ResizeRule(), pinned=pinned) for pinned in (False, True))
    assert torch.equal(plain.pixels, pinned.pixels)
    assert plain.pixels.stride() == pinned.pixels.stride()
    for resized, row in zip(images, plain.pixels, strict=True):
        expected = np.zeros((32, 64, 3), np.uint8)
        expected[: resized.shape[0], : resized.shape[1]] = resized
        assert np.array_equal(row.permute(1, 2, 0).numpy(), expected)


def test_usual_sizes_are_those_of_cameras_phones_and_coco():
    rule = ResizeRule()
    usual = usual_sizes(rule)
    for photo in [(960, 1280), (3024, 4032), (480, 640), (427, 640), (1080, 1920), (500, 500), (640, 427)]:
        assert rule.padded(rule.size(photo)) in usual, photo
    assert len(usual) == len(set(usual)) == 7
