import torch

from maskmill.models.san.config import SAN_VIT_L14
from maskmill.models.san.model import empty
from tests.models.san.tiny16 import draw, tiny16


def test_kept_are_the_layers_that_something_reads():
    model = tiny16().model
    features = model.clip_visual_extractor(draw(1, 3, 48, 64))
    assert set(features.tokens) == {0, 1, 3}
    assert features.grid == (3, 4)
    assert all(tuple(tokens.shape) == (1, 1 + 12, 64) for tokens in features.tokens.values())


def test_clip_reads_by_scale_factor_not_by_size():
    visual = empty(SAN_VIT_L14).clip_visual_extractor
    images = draw(1, 3, 640, 864)
    small = visual.clip_input(images)
    assert tuple(small.shape) == (1, 3, 448, 604)
    by_size = torch.nn.functional.interpolate(images, size=(448, 604), mode="bilinear", align_corners=False)
    assert not torch.allclose(small, by_size, atol=1e-3)


def test_pixels_beyond_whole_patches_change_nothing():
    visual = tiny16().model.clip_visual_extractor
    images = draw(1, 3, 48, 64)
    wider = torch.cat([images, draw(1, 3, 48, 15, seed=1)], dim=3)
    assert torch.equal(visual(images).tokens[3], visual(wider).tokens[3])
