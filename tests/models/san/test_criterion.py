"""Losses of a batch."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from maskmill.models.san.criterion import LossCounts, Losses, class_loss, dice_loss, losses, mask_loss
from maskmill.models.san.loss_config import LossConfig
from maskmill.models.san.matching import match
from maskmill.models.san.model import SanOutput
from maskmill.models.san.point_sampling import SampleRandom, loss_points
from maskmill.models.san.targets import JoinedTargets
from tests.generator_random import GeneratorRandom
from tests.golden import main
from tests.golden_train import run
from tests.models.san.plain_losses import (
    SMALL,
    cross_entropy,
    dice,
    in_float32,
    outputs_of,
    softmax,
    targets_of,
    values_at,
)
from tests.models.san.tiny16 import class_weights, draw, tiny16

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "san" / "tiny16_train.json"


def generator() -> GeneratorRandom:
    return GeneratorRandom(torch.Generator().manual_seed(1))


def values(found: Losses) -> list[float]:
    return [loss.item() for loss in found.named().values()]


def part_of(outputs: list[SanOutput], images: slice) -> list[SanOutput]:
    return [
        SanOutput(mask_logits=output.mask_logits[images], class_logits=output.class_logits[images])
        for output in outputs
    ]


@pytest.mark.parametrize("float64", [False, True])
def test_losses_and_gradients_equal_the_authors(float64):
    golden, found = json.loads(GOLDEN.read_text()), run(GOLDEN, float64=float64)
    numbers = found.numbers()
    stored = golden["losses_weighted_fp64" if float64 else "losses_weighted"]
    assert numbers["losses_weighted"] == pytest.approx(stored, rel=0, abs=2e-6 if float64 else 2e-5)
    assert numbers["total"] == pytest.approx(golden["total"], rel=0, abs=2e-5)
    assert numbers["no_grad"] == golden["no_grad"]
    assert numbers["grad_norms"] == pytest.approx(golden["grad_norms"], rel=1e-3)
    arrays = np.load(GOLDEN.with_suffix(".npz"))
    stored_gradients = [name for name in arrays.files if name.startswith("grad/")]
    assert stored_gradients
    for name in stored_gradients:
        gradient = found.gradients[name.removeprefix("grad/")]
        assert gradient is not None
        assert np.abs(gradient.numpy() - arrays[name]).max() <= 1e-3 * np.abs(arrays[name]).max()


def test_mask_and_dice_losses_equal_the_authors_to_the_last_digits_in_float64():
    """Class losses of the stored float64 run passed through float32; these did not."""
    stored = json.loads(GOLDEN.read_text())["losses_weighted_fp64"]
    found = run(GOLDEN, float64=True).numbers()["losses_weighted"]
    for name in ("loss_mask", "loss_dice", "loss_mask_0", "loss_dice_0"):
        assert found[name] == pytest.approx(stored[name], rel=1e-13)


def test_the_command_writes_losses_total_and_gradient_norms(tmp_path):
    out = tmp_path / "mine.json"
    main([str(GOLDEN), "--train", "--out", str(out)])
    written, golden = json.loads(out.read_text()), json.loads(GOLDEN.read_text())
    assert list(written["losses_weighted"]) == list(golden["losses_weighted"])
    assert written["total"] == pytest.approx(sum(written["losses_weighted"].values()))
    assert set(written["grad_norms"]) == set(golden["grad_norms"])


def test_any_training_set_of_that_form_runs(tmp_path):
    """Three depths, sizes that nothing divides, an image without masks, other weights: as the set's own numbers say."""
    golden, random = json.loads(GOLDEN.read_text()), np.random.default_rng(2)
    golden["config"] |= {"deep_supervision": [1, 2, 3], "train_num_points": 10, "num_queries": 4}
    golden |= {"salt": "mine/", "cases": [[70, 90, 1, 6], [64, 101, 2, 0]]}
    golden["weight_dict"] |= {"loss_ce": 1.0, "loss_mask": 3.0}
    arrays, draws = {}, []
    for image, (height, width, _, count) in enumerate(golden["cases"]):
        masks = random.random((count, height, width)) < 0.5
        arrays |= {f"gt_masks_{image}": np.packbits(masks), f"gt_masks_shape_{image}": np.array(masks.shape)}
        arrays[f"gt_classes_{image}"] = random.integers(0, 12, count)
    for _ in golden["config"]["deep_supervision"]:
        draws += [(1, 10, 2), (1, 10, 2), (4, 30, 2), (4, 3, 2)]
    arrays |= {f"rand_{i}": random.random(shape, np.float32) for i, shape in enumerate(draws)}
    (tmp_path / "mine_train.json").write_text(json.dumps(golden))
    np.savez(tmp_path / "mine_train.npz", **arrays)
    found = run(tmp_path / "mine_train.json").numbers()
    assert len(found["losses_weighted"]) == 9
    assert np.isfinite(list(found["losses_weighted"].values())).all()
    assert set(found["grad_norms"]) == set(golden["grad_norms"])


def test_losses_are_those_of_the_plain_formulas():
    outputs, targets = outputs_of(3), targets_of([2, 0, 4])
    found = values(losses(outputs, targets, generator(), SMALL))

    random, joined = generator(), JoinedTargets.of(targets, torch.device("cpu"))
    matches = match(outputs, joined, random, SMALL)
    expected = {}
    for level, output in enumerate(outputs):
        pairs = [
            (image, query, place)
            for image, one in enumerate(matches[level])
            for query, place in zip(one.queries, one.targets, strict=True)
        ]
        logits = torch.stack([output.mask_logits[image, query] for image, query, _ in pairs])
        points = loss_points(logits, [image for image, _, _ in pairs], level, random, SMALL).numpy()
        sampled = [values_at(one.detach().numpy(), at) for one, at in zip(logits, points, strict=True)]
        true = [
            values_at(targets[image].masks[place].numpy(), at)
            for (image, _, place), at in zip(pairs, points, strict=True)
        ]
        wanted = {(image, query): int(targets[image].class_ids[place]) for image, query, place in pairs}
        probabilities = softmax(output.class_logits.detach().numpy())
        weighted = weight = 0.0
        for image in range(3):
            for query in range(6):
                one = 1.0 if (image, query) in wanted else 0.1
                weighted -= one * np.log(probabilities[image, query, wanted.get((image, query), 5)])
                weight += one
        expected[level] = [
            2.0 * weighted / weight,
            5.0 * sum(map(cross_entropy, sampled, true)) / 6,
            5.0 * sum(map(dice, sampled, true)) / 6,
        ]
    assert found == pytest.approx(expected[1] + expected[0])


def test_each_loss_of_a_small_case_computed_by_hand():
    logits, true = torch.tensor([[0.0, 0.0], [100.0, -100.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert mask_loss(logits, true).item() == pytest.approx(np.log(2.0))
    # First mask: p = 1/2, 1/2: 1 - (2 x 1/2 + 1) / (1 + 1 + 1); the second is right everywhere.
    assert dice_loss(logits, true).item() == pytest.approx(1.0 / 3.0)
    two_queries = torch.zeros(1, 2, 4)
    index = torch.tensor([0])
    assert class_loss(two_queries, index, index, torch.tensor([2]), LossConfig()).item() == pytest.approx(
        1.1 * np.log(4.0)
    )


def test_the_class_losses_divisor_is_that_of_weighted_cross_entropy():
    (output,), targets = outputs_of(2, levels=1), targets_of([3, 9])
    found = losses([output], targets, generator(), SMALL).depths[0].classes
    ((first, second),) = match([output], JoinedTargets.of(targets, torch.device("cpu")), generator(), SMALL)
    wanted = torch.full((2, 6), 5)
    for image, one in enumerate((first, second)):
        wanted[image, one.queries] = targets[image].class_ids[one.targets]
    weight = torch.tensor([1.0, 1, 1, 1, 1, 0.1], dtype=torch.float64)
    plain = functional.cross_entropy(output.class_logits.transpose(1, 2), wanted, weight)
    assert found.item() == pytest.approx(2.0 * plain.item())


@pytest.mark.parametrize("counts", [[0, 0], [0, 3], [9, 1]])
def test_images_with_no_targets_or_more_than_queries_have_losses_and_gradients(counts):
    outputs = outputs_of(2)
    found = losses(outputs, targets_of(counts), generator(), SMALL)
    found.total.backward()
    assert all(np.isfinite(values(found)))
    for output in outputs:
        assert output.class_logits.grad.isfinite().all()
        assert output.class_logits.grad.abs().sum() > 0
        assert output.mask_logits.grad.isfinite().all()
        assert (output.mask_logits.grad.abs().sum() > 0) == (sum(counts) > 0)


def test_every_parameter_that_trains_has_a_gradient_without_any_target():
    segmenter = tiny16()
    model = segmenter.model
    outputs = model(draw(1, 3, 64, 64), class_weights(segmenter), model.config.deep_supervision)
    losses(outputs, targets_of([0], size=(64, 64)), generator(), SMALL).total.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_the_same_random_numbers_give_the_same_losses():
    outputs, targets = outputs_of(2), targets_of([2, 3])
    first, second = (values(losses(outputs, targets, generator(), SMALL)) for _ in range(2))
    assert first == second


def test_losses_do_not_depend_on_masks_being_floats():
    outputs, targets = outputs_of(2), targets_of([2, 3])
    floats = [type(one)(masks=one.masks.float(), class_ids=one.class_ids) for one in targets]
    assert values(losses(outputs, floats, generator(), SMALL)) == values(losses(outputs, targets, generator(), SMALL))


def test_losses_are_float32_under_autocast_and_from_bfloat16_logits():
    outputs, targets = in_float32(outputs_of(2)), targets_of([2, 3])
    plain = losses(outputs, targets, generator(), SMALL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = losses(outputs, targets, generator(), SMALL)
        assert under.total.dtype == torch.float32
        assert values(under) == values(plain)
    halves = [
        SanOutput(mask_logits=one.mask_logits.bfloat16(), class_logits=one.class_logits.bfloat16()) for one in outputs
    ]
    assert losses(halves, targets, generator(), SMALL).total.dtype == torch.float32


def test_workers_that_divide_by_mean_counts_average_to_one_worker():
    """Points seeded by sample, counts averaged: mean gradients of two workers are those of the whole batch."""
    targets, seeds = targets_of([1, 4, 0, 8]), [5, 6, 7, 8]
    whole = outputs_of(4)
    total = losses(whole, targets, SampleRandom(seeds), SMALL).total
    total.backward()

    parts = outputs_of(4)
    workers = [slice(0, 2), slice(2, 4)]
    own = [LossCounts.of(targets[part], 6, SMALL) for part in workers]
    mean = LossCounts(
        masks=torch.tensor([one.masks for one in own], dtype=torch.float64).mean(),
        class_weight=torch.tensor([one.class_weight for one in own], dtype=torch.float64).mean(),
    )
    shares = [
        losses(part_of(parts, part), targets[part], SampleRandom(seeds[part]), SMALL, counts=mean).total
        for part in workers
    ]
    torch.stack(shares).mean().backward()
    assert torch.stack(shares).mean().item() == pytest.approx(total.item(), rel=1e-12)
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one.mask_logits.grad, other.mask_logits.grad, rtol=0, atol=1e-13)
        assert torch.allclose(one.class_logits.grad, other.class_logits.grad, rtol=0, atol=1e-13)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_fewer_masks_than_one_divide_by_one(as_tensor):
    outputs, targets = outputs_of(1), targets_of([1])

    def with_masks(count: float) -> list[float]:
        masks = torch.tensor(count) if as_tensor else count
        return values(losses(outputs, targets, generator(), SMALL, counts=LossCounts(masks=masks, class_weight=1.5)))

    assert with_masks(0.25) == with_masks(1.0) != with_masks(2.0)


def test_names_put_the_final_depth_first():
    found = losses(outputs_of(1, levels=3), targets_of([1]), generator(), SMALL)
    assert list(found.named()) == [
        *("loss_ce", "loss_mask", "loss_dice"),
        *("loss_ce_0", "loss_mask_0", "loss_dice_0"),
        *("loss_ce_1", "loss_mask_1", "loss_dice_1"),
    ]
    assert found.named()["loss_ce"] is found.depths[2].classes
    assert found.named()["loss_dice_1"] is found.depths[1].dice


def test_descending_the_losses_fits_masks_and_classes():
    """The one thing that all of it is for: plain gradient descent on logits finds the targets."""
    targets, outputs, random = targets_of([3], size=(16, 20)), outputs_of(1, levels=1, side=8), generator()
    leaves = [outputs[0].mask_logits, outputs[0].class_logits]
    optimiser, totals = torch.optim.Adam(leaves, lr=0.3), []
    for _ in range(60):
        optimiser.zero_grad()
        totals.append(losses(outputs, targets, random, LossConfig(points=200)).total)
        totals[-1].backward()
        optimiser.step()
    assert totals[-1] < 0.3 * totals[0]
    ((found,),) = match(outputs, JoinedTargets.of(targets, torch.device("cpu")), random, SMALL)
    masks = functional.interpolate(leaves[0].detach(), (16, 20), mode="bilinear", align_corners=False)[0] > 0
    for query, place in zip(found.queries, found.targets, strict=True):
        true = targets[0].masks[place]
        assert (masks[query] & true).sum() / (masks[query] | true).sum() > 0.6
        assert leaves[1][0, query].argmax() == targets[0].class_ids[place]
