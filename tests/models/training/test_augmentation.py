"""Crops: repeatable, geometry the same for pixels and classes, padding grey and unlabeled, colours within bounds."""

import numpy as np
import pytest
from PIL import Image

from maskmill.models.training.augmentation import augment, jitter
from maskmill.models.training.recipe import Augmentation

PLAIN = Augmentation(crop=64, colour=False)


def striped(height: int, width: int) -> tuple[Image.Image, np.ndarray]:
    """An image whose red is its class times 20: 4 x 3 fields of 12 classes, wide enough to survive any resize."""
    rows = np.arange(height)[:, None] * 4 // height
    columns = np.arange(width)[None, :] * 3 // width
    classes = (rows * 3 + columns).astype(np.int32)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = classes * 20
    return Image.fromarray(pixels), classes


@pytest.mark.parametrize("size", [(50, 80), (200, 150), (64, 64), (31, 200)])
def test_classes_stay_on_their_pixels_through_resize_crop_and_mirror(size):
    image, classes = striped(*size)
    mirrored = set()
    for seed in range(12):
        pixels, class_map = augment(image, classes, PLAIN, seed)
        assert pixels.shape == (64, 64, 3)
        inside = class_map >= 0
        # Between two fields bilinear pixels are mixtures; away from the edges red tells the class.
        red = pixels[..., 0].astype(int)
        agreeing = np.abs(red - 20 * class_map)[inside] < 10
        assert agreeing.mean() > 0.85, seed
        row = class_map[0][class_map[0] >= 0]
        if row.max() > row.min():
            mirrored.add(bool(row[0] > row[-1]))
    assert mirrored == {False, True}


def test_equal_seeds_give_equal_crops_and_others_differ():
    image, classes = striped(100, 130)
    first, again, other = (augment(image, classes, Augmentation(crop=64), seed) for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_images_smaller_than_the_crop_are_padded_grey_and_unlabeled():
    image, classes = striped(64, 64)
    half = Augmentation(crop=64, scales=(0.5,), colour=False, flip=False)
    pixels, class_map = augment(image, classes, half, 0)
    assert (class_map[:32, :32] >= 0).all()
    assert (class_map[32:] == -1).all()
    assert (class_map[:, 32:] == -1).all()
    assert (pixels[32:] == 128).all()
    assert (pixels[:, 32:] == 128).all()


def test_without_colours_and_scales_a_crop_is_a_part_of_the_image():
    image, classes = striped(64, 150)
    pixels, class_map = augment(image, classes, Augmentation(crop=64, scales=(1.0,), colour=False, flip=False), 3)
    source = np.asarray(image)
    places = [x for x in range(150 - 64 + 1) if np.array_equal(source[:, x : x + 64], pixels)]
    assert places
    assert np.array_equal(classes[:, places[0] : places[0] + 64], class_map)


def test_colours_change_within_their_bounds():
    grey = Image.new("RGB", (8, 8), (100, 100, 100))
    seen = {np.asarray(jitter(grey, np.random.default_rng(seed)))[0, 0, 0] for seed in range(300)}
    # Brightness by up to 32, then contrast by up to half, whichever comes.
    assert min(seen) >= round((100 - 32) * 0.5)
    assert max(seen) <= round((100 + 32) * 1.5)
    assert len(seen) > 40
    assert 100 in seen  # both may be left out


def test_hue_turns_by_at_most_a_tenth_of_the_circle():
    import colorsys

    red = Image.new("RGB", (4, 4), (200, 40, 40))
    turns = []
    for seed in range(200):
        r, g, b = np.asarray(jitter(red, np.random.default_rng(seed)))[0, 0] / 255
        hue = colorsys.rgb_to_hsv(r, g, b)[0]
        turns.append(min(hue, 1 - hue))
    assert max(turns) <= 0.1 + 0.03  # 8-bit rounding, twice
    assert max(turns) > 0.06
