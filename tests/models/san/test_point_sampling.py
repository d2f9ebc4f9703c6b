"""Points on masks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from maskmill.models.san.loss_config import LossConfig
from maskmill.models.san.point_sampling import Draw, SampleRandom, loss_points, sample_maps, sample_masks
from tests.generator_random import GeneratorRandom
from tests.golden_train import RecordedRandom, loss_config
from tests.models.san.plain_losses import outputs_of, targets_of, values_at
from tests.models.san.tiny16 import draw

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "san" / "tiny16_train.json"
EDGES = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.3], [0.5, 0.0], [0.999999, 0.000001]])


def points(rows: int, count: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Uniform points, then every kind of edge."""
    drawn = torch.rand(rows, count, 2, generator=torch.Generator().manual_seed(3))
    return torch.cat([drawn, EDGES.expand(rows, -1, -1)], dim=1).to(dtype)


def generator() -> GeneratorRandom:
    return GeneratorRandom(torch.Generator().manual_seed(7))


def test_maps_are_read_bilinearly_between_centres_and_are_zero_outside():
    maps, where = draw(2, 3, 5, 4, dtype=torch.float64), points(2, 20, torch.float64)
    read = sample_maps(maps, where)
    for image in range(2):
        for channel in range(3):
            expected = values_at(maps[image, channel].numpy(), where[image].numpy())
            assert np.allclose(read[image, channel].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(16, 20), (1, 7), (33, 1), (640, 480)])
def test_boolean_masks_are_read_as_grid_sample_reads_their_floats(size, dtype):
    masks = draw(4, *size) > 0
    rows, where = torch.tensor([2, 0, 2, 3, 1]), points(5, 300, dtype)
    expected = functional.grid_sample(
        masks[rows, None].to(dtype), where[:, None] * 2 - 1, mode="bilinear", align_corners=False
    )[:, 0, 0]
    read = sample_masks(masks, rows, where)
    assert read.dtype == dtype
    assert torch.allclose(read, expected, rtol=0, atol=2 * max(size) * torch.finfo(dtype).eps)


def test_soft_masks_are_read_by_the_same_rule():
    masks, where = draw(2, 9, 6, dtype=torch.float64).sigmoid(), points(2, 30, torch.float64)
    assert torch.allclose(sample_masks(masks, torch.arange(2), where), sample_maps(masks[:, None], where)[:, 0])


def test_loss_points_are_the_most_uncertain_candidates_and_then_uniform_ones():
    config = LossConfig(points=16, oversample=2.5, importance=0.5)
    logits = draw(3, 6, 6, dtype=torch.float64)
    found = loss_points(logits, [0, 0, 1], 0, generator(), config)
    assert found.shape == (3, 16, 2)
    assert found.dtype == torch.float64

    again = generator()
    candidates = again(Draw(use="candidates", level=0), [0, 0, 1], 40).double().numpy()
    uniform = again(Draw(use="fill", level=0), [0, 0, 1], 8).double().numpy()
    for mask in range(3):
        certainty = np.abs(values_at(logits[mask].numpy(), candidates[mask]))
        assert np.array_equal(found[mask, :8].numpy(), candidates[mask][np.argsort(certainty)[:8]])
        assert np.array_equal(found[mask, 8:].numpy(), uniform[mask])


@pytest.mark.parametrize("importance", [0.0, 0.33, 1.0])
def test_loss_points_are_as_many_as_asked_for_and_inside_the_image(importance):
    config = LossConfig(points=33, oversample=1.0, importance=importance)
    found = loss_points(draw(2, 5, 5), [0, 4], 0, generator(), config)
    assert found.shape == (2, 33, 2)
    assert found.min() >= 0
    assert found.max() <= 1


def test_loss_points_equal_the_authors():
    golden, arrays = json.loads(GOLDEN.read_text()), dict(np.load(GOLDEN.with_suffix(".npz")))
    random, config = RecordedRandom(arrays, 2, 2), loss_config(golden)
    for recorded, level in enumerate([1, 0]):
        matches = [arrays[f"match_{recorded}_{image}"] for image in range(2)]
        images = [image for image, match in enumerate(matches) for _ in match[0]]
        queries = np.concatenate([match[0] for match in matches])
        logits = torch.from_numpy(arrays[f"pred_masks_{level}"][images, queries])
        found = loss_points(logits, images, level, random, config)
        assert np.array_equal(found.numpy(), arrays[f"loss_points_{recorded}"])


def test_a_generator_in_the_same_state_gives_the_same_points():
    asked = Draw(use="matching", level=0), range(3), 5
    assert torch.equal(generator()(*asked), generator()(*asked))


def test_a_samples_points_do_not_depend_on_its_batch():
    together = SampleRandom([11, 12, -13])(Draw(use="candidates", level=1), [0, 0, 2, 2, 2], 7)
    alone = SampleRandom([-13])(Draw(use="candidates", level=1), [0, 0, 0], 7)
    assert torch.equal(together[2:], alone)
    assert 0 <= together.min() <= together.max() < 1
    assert len(together.unique()) == together.numel()


def test_samples_uses_and_depths_have_points_of_their_own():
    random = SampleRandom([1, 2])
    found = [
        random(Draw(use=use, level=level), [0, 1], 4) for use in ("matching", "candidates", "fill") for level in (0, 1)
    ]
    assert len(torch.cat(found).unique()) == torch.cat(found).numel()


def test_masks_of_many_images_need_no_gradient_and_no_float_copy():
    (target,) = targets_of([3])
    assert sample_masks(target.masks, torch.arange(3), points(3, 4)).requires_grad is False
    (output,) = outputs_of(1, levels=1)
    assert loss_points(output.mask_logits[0], [0] * 6, 0, generator(), LossConfig(points=4)).requires_grad is False
