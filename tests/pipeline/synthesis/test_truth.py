import numpy as np
import pytest

from maskmill.models.vocabulary.scenes import NOVEL, names
from maskmill.pipeline.synthesis.pool import draw
from maskmill.pipeline.synthesis.truth import taught_names, truth_batches


@pytest.fixture(scope="module")
def pool():
    return draw(5, 0, 60, halved=False, masks=True)


def test_names_that_are_left_out_are_never_taught(pool):
    taught = taught_names(NOVEL)
    assert len(taught) == 42
    assert not set(taught) & set(NOVEL)
    shown = 0
    for batch in truth_batches(pool, 4, left_out=NOVEL, rng=np.random.default_rng(0)):
        shown += len(batch)
        for class_map, classes in zip(batch.class_maps, batch.classes, strict=True):
            assert tuple(class_map.unique().tolist()) == classes
            assert classes[0] >= 0
    without = [all(i < 0 or names()[i] not in NOVEL for i in objects) for objects in pool.objects]
    assert shown == sum(without) // 4 * 4 < 60


def test_masks_are_mirrored_with_their_images(pool):
    (batch,) = truth_batches(pool, 60, left_out=(), rng=np.random.default_rng(1))
    same = mirrored = 0
    for pixels, class_map in zip(batch.pixels.numpy(), batch.class_maps.numpy(), strict=True):
        for i in range(60):
            if np.array_equal(pixels, pool.images[i]):
                same += 1
                assert np.array_equal(class_map, pool.class_maps[i])
            elif np.array_equal(pixels[..., ::-1], pool.images[i]):
                mirrored += 1
                assert np.array_equal(class_map[..., ::-1], pool.class_maps[i])
    assert same + mirrored == 60
    assert 0 < same < 60
