"""Pixels of which nothing is known: what targets say there reaches no loss, no matching and no gradient."""

from dataclasses import replace

import pytest
import torch

from maskmill.models.san.criterion import losses, mostly_ignored
from maskmill.models.san.matching import match
from maskmill.models.san.point_sampling import SampleRandom, count_points
from maskmill.models.san.targets import JoinedTargets, Target
from tests.models.san.plain_losses import SMALL, outputs_of, targets_of

CPU = torch.device("cpu")
LEFT = torch.zeros(16, 20, dtype=torch.bool)
LEFT[:, :9] = True


def ignoring(targets: list[Target], ignore: torch.Tensor | None) -> list[Target]:
    return [replace(target, ignore=ignore) for target in targets]


def garbled(targets: list[Target]) -> list[Target]:
    return [replace(target, masks=target.masks ^ LEFT) for target in targets]


def test_what_targets_say_on_ignored_pixels_changes_no_loss_and_no_gradient():
    seen = []
    for targets in (targets_of([2, 1, 3]), garbled(targets_of([2, 1, 3]))):
        outputs = outputs_of(3)
        found = losses(outputs, ignoring(targets, LEFT), SampleRandom([1, 2, 3]), SMALL)
        found.total.backward()
        gradients = [g for one in outputs for g in (one.mask_logits.grad, one.class_logits.grad)]
        seen.append([torch.stack(list(found.named().values())).detach(), *gradients])
    for one, other in zip(*seen, strict=True):
        assert torch.equal(one, other)


def test_mask_logits_that_reach_only_ignored_pixels_get_no_gradient():
    outputs = outputs_of(2)
    losses(outputs, ignoring(targets_of([3, 2]), LEFT), SampleRandom([1, 2]), SMALL).total.backward()
    for output in outputs:
        # Maps have 5 columns of 4 pixels each: what the first is worth is felt up to pixel 6 of 20.
        assert not output.mask_logits.grad[..., 0].any()
        assert output.mask_logits.grad[..., 3:].any()


def test_matching_does_not_look_at_ignored_pixels():
    outputs = outputs_of(3)
    pairs = [
        match(outputs, JoinedTargets.of(ignoring(targets, LEFT), CPU), SampleRandom([4, 5, 6]), SMALL)
        for targets in (targets_of([2, 4, 3]), garbled(targets_of([2, 4, 3])))
    ]
    for one, other in zip(*pairs, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert (mine.queries == theirs.queries).all()
            assert (mine.targets == theirs.targets).all()


def test_images_without_ignored_pixels_have_the_losses_they_had():
    targets = targets_of([2, 0, 3])
    none, empty = (
        losses(outputs_of(3), ignoring(targets, ignore), SampleRandom([1, 2, 3]), SMALL)
        for ignore in (None, torch.zeros_like(LEFT))
    )
    assert [v.item() for v in none.named().values()] == pytest.approx([v.item() for v in empty.named().values()])


def test_a_query_whose_mask_lies_on_ignored_pixels_is_not_taught_to_be_background():
    outputs = outputs_of(1, queries=4, levels=1)
    maps = torch.full((1, 4, 4, 5), -5.0, dtype=torch.float64)
    maps[0, 0, :, :2] = 5.0  # inside what is ignored
    maps[0, 1, :, 3:] = 5.0  # outside
    maps[0, 2, :, 1:] = 5.0  # mostly outside; the last one is empty
    assert mostly_ignored(maps, LEFT[None]).tolist() == [[True, False, False, False]]
    outputs[0] = replace(outputs[0], mask_logits=maps.requires_grad_())
    losses(outputs, ignoring(targets_of([0]), LEFT), SampleRandom([1]), SMALL).total.backward()
    taught = outputs[0].class_logits.grad[0].abs().sum(-1) > 0
    assert taught.tolist() == [False, True, True, True]


def test_an_image_that_is_ignored_whole_has_finite_losses():
    found = losses(outputs_of(1), ignoring(targets_of([2]), torch.ones_like(LEFT)), SampleRandom([1]), SMALL)
    assert found.total.isfinite()


def test_points_count_unless_an_ignored_pixel_has_a_share_in_them():
    across = torch.tensor([8.4, 9.4, 9.6, 19.9]) / 20
    points = torch.stack([across, torch.full((4,), 0.5)], -1)[None]
    assert count_points(LEFT[None], torch.tensor([0]), points).tolist() == [[False, False, True, True]]
