import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco

from maskmill.models.masks import rle
from maskmill.pipeline.export.masks import painted, stretched, stretched_mask


@pytest.mark.parametrize("size", [(40, 60), (41, 63), (97, 121), (1, 1), (20, 200)])
def test_stretching_is_pillows_nearest(size):
    pixels = np.random.default_rng(1).integers(0, 9, (37, 53)).astype(np.int32)
    theirs = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.NEAREST)
    assert np.array_equal(stretched(pixels, size), np.asarray(theirs))


def test_a_stretched_mask_is_measured_anew():
    mask = np.zeros((3, 4), bool)
    mask[1, 2:] = True
    found = stretched_mask(rle.encode(torch.from_numpy(mask)[None])[0], (3, 4), (6, 8))
    assert (found.area, found.bbox) == (8, (4, 2, 4, 2))
    assert coco.decode({"size": [6, 8], "counts": found.rle})[2:4, 4:].all()


def test_of_equal_scores_the_later_is_on_top():
    masks = rle.encode(torch.ones(2, 1, 2, dtype=torch.bool))
    assert painted(masks, [3, 4], [0.5, 0.5], (1, 2), 9).tolist() == [[4, 4]]
    assert painted([], [], [], (1, 2), 9).tolist() == [[9, 9]]
