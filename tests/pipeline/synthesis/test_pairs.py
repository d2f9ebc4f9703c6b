import numpy as np
import pytest
import torch

from maskmill.models.clip.pixels import CLIP_MEAN, CLIP_STD
from maskmill.models.vocabulary.scenes import COLOURS, SHAPES, names
from maskmill.pipeline.synthesis.pairs import TEXTS, normalised, pair_batches
from maskmill.pipeline.synthesis.pool import draw


@pytest.fixture(scope="module")
def pool():
    return draw(5, 0, 64, halved=True, masks=False)


def test_a_batch_says_only_what_is_in_its_scenes(pool):
    (batch,) = pair_batches(pool, 64, grid=8, zoomed=0.0, rng=np.random.default_rng(0))
    assert batch.images.shape == (64, 3, 64, 64)
    assert batch.regions.shape == (64, 4, 8, 8)
    for i in range(64):  # batches are sorted by scene
        present = {names()[j] for j in pool.objects[i] if j >= 0}
        background = names()[pool.backgrounds[i]]
        assert batch.captions[i].endswith(f" on {background}")
        assert all(name in batch.captions[i] for name in present)
        assert {names()[j] for j in batch.labels[0][i].tolist() if j >= 0} <= present | {background}


def test_attributes_follow_from_names(pool):
    (batch,) = pair_batches(pool, 64, grid=8, zoomed=0.5, rng=np.random.default_rng(1))
    name, colour, shape = batch.labels
    assert (names(), COLOURS, SHAPES) == TEXTS
    for n, c, s in zip(name.flatten().tolist(), colour.flatten().tolist(), shape.flatten().tolist(), strict=True):
        if 0 <= n < 40:
            assert names()[n] == f"{COLOURS[c]} {SHAPES[s]}"
        else:
            assert (c, s) == (-1, -1)


def test_every_labeled_crop_has_a_patch_and_the_middle_of_its_box(pool):
    (batch,) = pair_batches(pool, 64, grid=8, zoomed=0.0, rng=np.random.default_rng(2))
    assert batch.regions.flatten(2).any(-1).all()


def test_close_views_are_views_of_one_object(pool):
    (batch,) = pair_batches(pool, 64, grid=8, zoomed=1.0, rng=np.random.default_rng(3))
    (plain,) = pair_batches(pool, 64, grid=8, zoomed=0.0, rng=np.random.default_rng(3))
    objects = [caption.count(" and ") + caption.count(",") for caption in batch.captions]
    assert np.mean(objects) < np.mean([caption.count(" and ") + caption.count(",") for caption in plain.captions])
    assert batch.images.isfinite().all()


def test_equal_generators_give_equal_batches(pool):
    one, two = (
        list(pair_batches(pool, 16, grid=8, zoomed=0.5, rng=np.random.default_rng(4), passes=2)) for _ in range(2)
    )
    assert len(one) == len(two) == 8
    assert all(torch.equal(a.images, b.images) and a.captions == b.captions for a, b in zip(one, two, strict=True))


def test_images_are_normalised_as_clip_was():
    image = torch.full((1, 3, 2, 2), 200, dtype=torch.uint8)
    expected = (200 - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
    assert torch.allclose(normalised(image)[0, :, 1, 1], expected)
