"""DenseCLIP's training step: published groups and rates, targets hard and soft, and the way back from a checkpoint."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from maskmill.models.denseclip.config import DENSECLIP_RN50, DENSECLIP_VIT_B
from maskmill.models.denseclip.criterion import PixelTargets, losses
from maskmill.models.denseclip.model import DenseClip, DenseClipOutput, empty
from maskmill.models.training.ranks import Ranks
from maskmill.models.training.recipe import Recipe
from maskmill.models.training.student import Group, StudentBatch, StudentTraining, group_of, learning_rate
from tests.models.denseclip.plain_denseclip import GOLDEN, described, tiny

RECIPE = Recipe(steps=40, batch_size=2, learning_rate=1e-3)


def batch(number: int) -> StudentBatch:
    random = torch.Generator().manual_seed(number)
    rows = torch.randint(-1, 12, (2, 8, 8), generator=random).repeat_interleave(8, 1).repeat_interleave(8, 2)
    pixels = torch.randint(0, 256, (2, 3, 64, 64), generator=random, dtype=torch.uint8)
    return StudentBatch(pixels=pixels, targets=PixelTargets(rows=rows), number=number)


def training(name: str = "tinyvit", **options: object) -> StudentTraining:
    segmenter = tiny(name)
    return StudentTraining(segmenter.model, segmenter.tokenize(described(name)["vocab"]), RECIPE, warmup=4, **options)


@pytest.mark.parametrize(("keys", "config"), [("RN50", DENSECLIP_RN50), ("ViTB", DENSECLIP_VIT_B)])
def test_groups_are_the_published_ones(keys, config):
    released = json.loads((Path(GOLDEN) / f"keys_{keys}.json").read_text())
    for name, parameter in empty(config).named_parameters():
        if parameter.requires_grad:
            assert group_of(name) == Group(rate=released[name][3], decay=released[name][4]), name


def test_the_rate_rises_then_falls_by_a_power_to_its_floor():
    head, backbone = Group(rate=1.0, decay=1.0), Group(rate=0.1, decay=1.0)
    recipe = Recipe(steps=80_000)
    assert learning_rate(recipe, 1500, head, 0) == pytest.approx(1e-10, rel=1e-6)
    assert learning_rate(recipe, 1500, head, 750) == pytest.approx(
        0.5 * (99e-6 * (79250 / 80000) ** 0.9 + 1e-6), rel=1e-5
    )
    assert learning_rate(recipe, 1500, head, 1500) == pytest.approx(99e-6 * (78500 / 80000) ** 0.9 + 1e-6)
    assert learning_rate(recipe, 1500, backbone, 40_000) == pytest.approx(9e-6 * 0.5**0.9 + 1e-6)


@pytest.mark.parametrize("name", ["tinyrn", "tinyvit"])
def test_an_update_moves_everything_but_the_text_encoder(name):
    mine = training(name)
    before = copy.deepcopy(mine.model.state_dict())
    for number in range(2):
        mine.advance(batch(number))
    still = {key for key, tensor in mine.model.state_dict().items() if torch.equal(tensor, before[key])}
    assert still == {key for key in before if key.startswith("text_encoder.")}


@pytest.mark.parametrize("name", ["tinyrn", "tinyvit"])
def test_restored_a_training_goes_on_to_the_bit(name):
    whole, reports = training(name), []
    for number in range(6):
        if number == 3:
            kept = copy.deepcopy(whole.state())
        reports.append(whole.advance(batch(number)))
    again = training(name)
    torch.rand(7)  # whatever a process draws in between
    again.restore(kept)
    assert [again.advance(batch(number)) for number in range(3, 6)] == reports[3:]
    mine, theirs = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_a_checkpoint_of_another_model_is_refused():
    with pytest.raises(ValueError, match="another model"):
        training("tinyvit").restore(training("tinyrn").state())


def test_two_workers_have_one_set_of_running_statistics():
    sums: list[torch.Tensor] = []

    def all_reduce(tensor: torch.Tensor) -> None:
        sums.append(tensor.clone())
        tensor *= 2  # the other worker has the same

    mine = training("tinyrn", ranks=Ranks(rank=0, size=2, all_reduce=all_reduce))
    alone = training("tinyrn")
    for model in (mine.model, alone.model):
        _without_dropout(model)
    mine.advance(batch(0))
    alone.advance(batch(0))
    assert len(sums) == 3  # gradients, numbers, statistics
    for key, tensor in alone.model.state_dict().items():
        torch.testing.assert_close(mine.model.state_dict()[key], tensor, msg=key)


def _without_dropout(model: DenseClip) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.p = 0.0


def test_numbers_that_are_not_finite_leave_the_weights_alone():
    mine = training()
    with torch.no_grad():
        mine.model.gamma.fill_(float("nan"))
    before = mine.model.contexts.clone()
    with pytest.raises(FloatingPointError, match="update 1"):
        mine.advance(batch(0))
    assert torch.equal(mine.model.contexts, before)


def output(seed: int = 0) -> DenseClipOutput:
    random = torch.Generator().manual_seed(seed)
    return DenseClipOutput(
        logits=torch.randn(2, 5, 8, 8, generator=random), scores=torch.rand(2, 5, 2, 2, generator=random)
    )


def test_soft_targets_of_certain_classes_are_hard_ones():
    classes = torch.randint(-1, 5, (2, 16, 16), generator=torch.Generator().manual_seed(1))
    hard = losses(output(), PixelTargets(rows=classes), 0.07)
    soft = losses(output(), PixelTargets(rows=classes, distributions=torch.eye(5)), 0.07)
    assert soft.named().keys() == hard.named().keys()
    for name, value in hard.named().items():
        torch.testing.assert_close(soft.named()[name], value)


def test_weights_scale_what_a_pixel_adds_and_unknown_pixels_add_nothing_but_count():
    classes = torch.randint(0, 5, (2, 16, 16), generator=torch.Generator().manual_seed(1))
    targets = PixelTargets(rows=classes)
    half = losses(output(), replace(targets, weights=torch.full((2, 16, 16), 0.5)), 0.07)
    torch.testing.assert_close(2 * half.total, losses(output(), targets, 0.07).total)
    unknown = classes.clone()
    unknown[1] = -1
    whole = losses(output(), PixelTargets(rows=unknown), 0.07).decode
    first = losses(
        DenseClipOutput(logits=output().logits[:1], scores=output().scores[:1]), PixelTargets(rows=classes[:1]), 0.07
    ).decode
    torch.testing.assert_close(2 * whole, first)
