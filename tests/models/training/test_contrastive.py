"""The tiny CLIP's training: its losses against plain formulas, what trains, and that it learns."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from maskmill.models.clip.layers import run
from maskmill.models.san.config import SAN_TINY
from maskmill.models.training.contrastive import (
    ContrastiveRecipe,
    ContrastiveTraining,
    caption_loss,
    clip_parameters,
    fresh_clip,
    sines,
)
from maskmill.models.training.gauge import region_logits
from maskmill.pipeline.synthesis.pairs import TEXTS, pair_batches
from maskmill.pipeline.synthesis.pool import draw


@pytest.fixture(scope="module")
def pairs():
    pool = draw(5, 0, 16, halved=True, masks=False)
    return next(pair_batches(pool, 16, grid=8, zoomed=1.0, rng=np.random.default_rng(0)))


def training(steps=20):
    recipe = ContrastiveRecipe(steps=steps, warmup=2, muon_lr=0.01, adam_lr=1e-3)
    return ContrastiveTraining(fresh_clip(SAN_TINY, 1), recipe, TEXTS, ("{}", "a {}"), 1)


def test_without_equal_captions_it_is_clips_loss():
    logits = torch.randn(5, 5, dtype=torch.float64)
    rows, columns = logits.log_softmax(1).diagonal(), logits.log_softmax(0).diagonal()
    assert caption_loss(logits, list("abcde")).item() == pytest.approx(-(rows.mean() + columns.mean()).item() / 2)


def test_images_of_equal_captions_share_the_target():
    logits = torch.tensor([[9.0, 9.0, -9.0], [9.0, 9.0, -9.0], [-9.0, -9.0, 9.0]])
    assert caption_loss(logits, ["a", "a", "b"]).item() == pytest.approx(2 / 3 * math.log(2), abs=1e-4)


def test_the_unrestricted_readout_is_the_cls_token():
    model = fresh_clip(SAN_TINY, 2)
    clip = model.clip_visual_extractor(torch.randn(2, 3, 64, 64))
    tokens = clip.tokens[SAN_TINY.split_layer]
    for block in model.clip_rec_head.resblocks:
        tokens = run(block, tokens)
    expected = torch.nn.functional.normalize(
        model.clip_rec_head.ln_post(tokens[:, 0]) @ model.clip_rec_head.proj, dim=-1
    )
    found = model.clip_rec_head(clip, torch.zeros(2, 4, 1, 8, 8))[:, 0]
    assert torch.allclose(found, expected, atol=1e-5)


def test_clip_trains_and_what_san_adds_does_not(pairs):
    one = training()
    before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    for _ in range(2):
        one.step(pairs)
    moved = {name for name, tensor in one.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == set(clip_parameters(one.model))


def test_a_few_steps_on_one_batch_lower_every_loss(pairs):
    one = training()
    shown = [one.step(pairs) for _ in range(20)]
    for name in ("caption", "name", "colour", "shape"):
        assert shown[-1][name] < shown[0][name]


def test_rates_rise_stay_and_fall_to_nothing():
    one = training(steps=100)
    one.recipe = replace(one.recipe, warmup=10, decay=0.5)
    rates = []
    for done in range(100):
        one.done = done
        rates.append(one.rate())
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == rates[49] == 1.0
    assert rates[75] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.03


def test_training_goes_on_from_its_state(pairs):
    one, two = training(), training()
    one.step(pairs)
    two.restore(one.state())
    assert two.done == 1
    for name, parameter in clip_parameters(two.model).items():
        assert torch.equal(parameter, clip_parameters(one.model)[name])


def test_positions_start_apart_and_of_one_length():
    positions = sines(8, 128)
    assert positions.shape == (64, 128)
    lengths = positions.norm(dim=1)
    assert torch.allclose(lengths, lengths[:1].expand(64), rtol=1e-5)
    assert torch.cdist(positions, positions).add(torch.eye(64) * 9).min() > 0.5


def test_the_gauge_reads_every_region_by_itself():
    model = fresh_clip(SAN_TINY, 3)
    images, features = torch.randn(1, 3, 64, 64), torch.nn.functional.normalize(torch.randn(6, 64), dim=-1)
    masks = torch.zeros(1, 2, 128, 128, dtype=torch.bool)
    masks[0, 0, :40, :40] = masks[0, 1, 80:, 80:] = True
    both = region_logits(model, images, masks, features)
    alone = region_logits(model, images, masks[:, 1:], features)
    assert both.shape == (1, 2, 6)
    assert torch.allclose(both[:, 1], alone[:, 0], atol=1e-5)
    assert not torch.allclose(both[:, 0], both[:, 1], atol=1e-3)
