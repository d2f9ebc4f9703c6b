import numpy as np
import pytest

from maskmill.models.vocabulary.scenes import names
from maskmill.pipeline.synthesis.pool import draw, pools
from maskmill.pipeline.synthesis.scene import scene


@pytest.fixture(scope="module")
def whole():
    return draw(3, 10, 12, halved=False, masks=True)


def test_a_pool_holds_the_scenes_of_its_indices(whole):
    for i in range(12):
        drawn = scene(3, 10 + i)
        assert np.array_equal(whole.images[i].transpose(1, 2, 0), drawn.image)
        assert np.array_equal(whole.class_maps[i], drawn.class_map)
        assert [names()[j] for j in whole.objects[i] if j >= 0] == [thing.name for thing in drawn.things]
        assert names()[whole.backgrounds[i]] == drawn.background


def test_boxes_hold_what_is_visible_and_no_more(whole):
    for class_map, objects, boxes in zip(whole.class_maps, whole.objects, whole.boxes, strict=True):
        for vocab_id, box in zip(objects, boxes, strict=True):
            if vocab_id < 0:
                assert not box.any()
                continue
            x0, y0, x1, y1 = (round(float(edge) * 128) for edge in box)
            inside = class_map[y0:y1, x0:x1] == vocab_id
            assert inside.sum() == (class_map == vocab_id).sum()
            assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_halved_images_are_the_means_of_four_pixels(whole):
    halved = draw(3, 10, 12, halved=True, masks=False)
    means = whole.images.astype(np.float64).reshape(12, 3, 64, 2, 64, 2).mean((3, 5))
    assert np.abs(halved.images - means).max() <= 0.5
    assert halved.class_maps is None
    assert np.array_equal(halved.boxes, whole.boxes)


def test_pools_follow_one_another_whoever_draws_them():
    found = pools(3, 300, start=1, halved=True, masks=False, workers=1)
    second, third = next(found), next(found)
    found.close()
    assert len(second) == len(third) == 300
    assert np.array_equal(second.images[:4], draw(3, 300, 4, halved=True, masks=False).images)
    assert np.array_equal(third.images[-2:], draw(3, 898, 2, halved=True, masks=False).images)
