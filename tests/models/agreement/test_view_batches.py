"""Views of a batch: mirrored and resized images, their padding where it belongs, and nothing of their neighbours."""

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.models.agreement.batches import mirrored, scaled, scaled_size, view_of
from maskmill.models.resize import ImageBatch, ResizeRule, SlidingRule, batch_of

RULE = ResizeRule(short_side=64, long_side_cap=256, multiple=32)
SIZES = [(64, 80), (61, 96), (64, 65)]


def images(seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]


def batch(found: list[np.ndarray]) -> ImageBatch:
    made = batch_of(found, [(100, 120 + i) for i in range(len(found))], RULE)
    # What lies in the padding means nothing; here it would be seen.
    for pixels, (height, width) in zip(made.pixels, made.sizes, strict=True):
        pixels[:, height:], pixels[:, :, width:] = 77, 77
    return made


def rows(pixels: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    return pixels[:, : size[0], : size[1]].permute(1, 2, 0).numpy()


def test_a_mirrored_image_is_turned_within_its_own_size():
    found = images()
    view = mirrored(batch(found)).images
    assert view.sizes == tuple(SIZES)
    assert view.mask_sizes == batch(found).mask_sizes
    for pixels, image in zip(view.pixels, found, strict=True):
        assert np.array_equal(rows(pixels, image.shape[:2]), image[:, ::-1])
        assert not pixels[:, image.shape[0] :].any()
        assert not pixels[:, :, image.shape[1] :].any()


def test_mirrored_twice_is_the_image():
    found = images()
    view = mirrored(mirrored(batch(found)).images).images
    assert torch.equal(view.pixels, batch_of(found, view.mask_sizes, RULE).pixels)


@pytest.mark.parametrize("factor", [0.5, 0.75, 1.25])
def test_a_scaled_image_is_pillows_but_for_rounding(factor):
    found = images(1)
    (part,) = scaled(batch(found), factor, RULE)
    view = part.images
    for pixels, image, size in zip(view.pixels, found, view.sizes, strict=True):
        assert size == tuple(int(side * factor + 0.5) for side in image.shape[:2])
        theirs = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        difference = np.abs(rows(pixels, size).astype(int) - np.asarray(theirs).astype(int))
        # Pillow computes in 8-bit fixed point.
        assert difference.max() <= 1
        assert not pixels[:, size[0] :].any()
        assert not pixels[:, :, size[1] :].any()


def test_a_scaled_batch_is_padded_to_a_multiple_that_its_own_padded_size_says():
    (part,) = scaled(batch(images()), 0.75, RULE)
    assert part.places == (0, 1, 2)
    view = part.images
    assert view.pixels.shape == (3, 3, 64, 96)
    assert scaled_size((64, 96), RULE) == (64, 96)
    assert view.pixels.dtype == torch.uint8
    assert view.pixels.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("view", ["flip", "scale"])
def test_an_images_view_depends_on_no_neighbour_and_no_batch_size(view):
    found, others = images(2), images(3)
    whole, replaced, alone = (
        view_of(one, view, RULE)[0].images
        for one in (batch(found), batch([others[0], found[1], others[2]]), batch(found).part(1, 2))
    )
    assert torch.equal(whole.pixels[1], replaced.pixels[1])
    assert torch.equal(whole.pixels[1], alone.pixels[0])
    assert whole.sizes[1] == alone.sizes[0]


def test_an_image_of_one_pixel_has_views():
    one = batch_of([np.full((1, 1, 3), 9, np.uint8)], [(1, 1)], RULE)
    for view in ("flip", "scale"):
        (part,) = view_of(one, view, RULE)
        made = part.images
        assert made.sizes == ((1, 1),)
        assert made.pixels[0, :, 0, 0].tolist() == [9, 9, 9]


def test_with_sliding_windows_each_is_padded_as_the_rule_says():
    """Two images of as many windows may have scaled views of which only one takes windows at all."""
    rule = SlidingRule(short_side=64, long_side_cap=256, multiple=32, scale=4.0)
    small, large = (np.full((*size, 3), 5, np.uint8) for size in ((66, 66), (100, 100)))
    made = batch_of([small, large, small], [(9, 9)] * 3, rule)
    parts = scaled(made, 0.75, rule)
    assert [part.places for part in parts] == [(0, 2), (1,)]
    assert [part.images.sizes for part in parts] == [((50, 50), (50, 50)), ((75, 75),)]
    for part in parts:
        assert {rule.padded(size) for size in part.images.sizes} == {tuple(part.images.pixels.shape[-2:])}
        assert part.images.mask_sizes == ((9, 9),) * len(part.places)
