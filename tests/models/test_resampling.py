"""Pillow is the oracle: what isn't its own resizing stays within one grey level of it."""

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.models.resampling import on_device, resized
from maskmill.models.rgbx import image_of, tensor_of
from tests.golden_rule import image

SIZES = [
    ((1, 1), (5, 7)),
    ((37, 53), (640, 917)),
    ((480, 641), (240, 320)),
    ((97, 85), (67, 123)),
    ((64, 64), (64, 64)),
]


def pillows(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR))


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_pillows_pixels_are_pillows(before, after):
    pixels = image(*before, 3)
    np.testing.assert_array_equal(resized(Image.fromarray(pixels), after), pillows(pixels, after))


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_torchs_pixels_are_within_one_grey_level_of_pillows(before, after):
    pixels = image(*before, 3)
    found = resized(Image.fromarray(pixels), after, "torch")
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    difference = np.abs(found.astype(int) - pillows(pixels, after))
    assert difference.max() <= 1
    # Pillow rounds between its two passes, and for some sizes takes the columns' first.
    assert (difference > 0).mean() < (0.3 if before == (97, 85) else 0.01)


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_a_devices_pixels_are_within_one_grey_level_of_pillows(before, after):
    pixels = image(*before, 3)
    found = on_device(torch.from_numpy(pixels).permute(2, 0, 1), after)
    assert found.is_contiguous()
    assert np.abs(found.numpy().astype(int) - pillows(pixels, after)).max() <= 1


def test_an_image_that_pillow_holds_in_pieces_is_resized_alike():
    pixels = np.zeros((4200, 1100, 3), np.uint8)  # beyond 16 MB, Pillow's largest piece
    pixels[::7], pixels[:, ::5] = 200, 90
    whole = Image.fromarray(pixels)
    assert tensor_of(whole).shape == (4200, 1100, 3)
    found = resized(whole, (1050, 275), "torch")
    shared = image_of(np.ascontiguousarray(np.pad(pixels, ((0, 0), (0, 0), (0, 1)))))
    assert tensor_of(shared).shape == (4200, 1100, 4)
    np.testing.assert_array_equal(found, resized(shared, (1050, 275), "torch"))


def test_an_image_and_its_array_are_one_memory():
    pixels = np.pad(image(20, 30, 1), ((0, 0), (0, 0), (0, 1)))
    shared = image_of(pixels)
    assert (shared.mode, shared.size) == ("RGB", (30, 20))
    np.testing.assert_array_equal(np.asarray(shared), pixels[..., :3])
    np.testing.assert_array_equal(tensor_of(shared).numpy(), pixels)
    shared.putpixel((0, 0), (9, 9, 9))
    assert tuple(pixels[0, 0, :3]) == tuple(image(20, 30, 1)[0, 0])
