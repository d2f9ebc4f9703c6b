"""Hungarian matching."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from maskmill.models.san.matching import costs, match
from maskmill.models.san.model import SanOutput
from maskmill.models.san.point_sampling import Draw
from maskmill.models.san.targets import JoinedTargets
from tests.generator_random import GeneratorRandom
from tests.golden_train import RecordedRandom, loss_config
from tests.golden_train import targets_of as golden_targets
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

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "san" / "tiny16_train.json"
CPU = torch.device("cpu")


def generator() -> GeneratorRandom:
    return GeneratorRandom(torch.Generator().manual_seed(1))


def matching_points(images: int) -> torch.Tensor:
    return generator()(Draw(use="matching", level=0), range(images), SMALL.points)


def test_costs_are_those_of_the_plain_formulas():
    (output,), targets = outputs_of(3, levels=1), targets_of([2, 0, 4])
    where = matching_points(3)
    found = costs(output, JoinedTargets.of(targets, CPU), where, SMALL)
    assert found.shape == (3, 6, 4)
    for image, target in enumerate(targets):
        at = where[image].double().numpy()
        probabilities = softmax(output.class_logits[image].detach().numpy())
        for query in range(6):
            logits = values_at(output.mask_logits[image, query].detach().numpy(), at)
            for place in range(len(target)):
                true = values_at(target.masks[place].numpy(), at)
                plain = (
                    5.0 * cross_entropy(logits, true)
                    + 5.0 * dice(logits, true)
                    - 2.0 * probabilities[query, target.class_ids[place]]
                )
                assert found[image, query, place].item() == pytest.approx(plain, abs=1e-10)


@pytest.mark.parametrize(("queries", "count"), [(5, 3), (4, 4), (3, 5), (6, 1)])
def test_no_assignment_is_cheaper(queries, count):
    (output,), joined = outputs_of(2, queries, levels=1), JoinedTargets.of(targets_of([count, count]), CPU)
    table = costs(output, joined, matching_points(2), SMALL).numpy()
    ((first, second),) = match([output], joined, generator(), SMALL)
    few = min(queries, count)
    for image, found in enumerate((first, second)):
        assert len(found.queries) == len(set(found.targets)) == few
        assert list(found.queries) == sorted(set(found.queries))
        cheapest = min(
            sum(table[image, query, target] for query, target in zip(chosen, assigned, strict=True))
            for chosen in permutations(range(queries), few)
            for assigned in (permutations(range(count), few) if queries < count else [tuple(range(count))])
        )
        assert table[image, found.queries, found.targets].sum() == pytest.approx(cheapest)


def test_matches_equal_the_authors():
    golden, arrays = json.loads(GOLDEN.read_text()), dict(np.load(GOLDEN.with_suffix(".npz")))
    outputs = [
        SanOutput(
            mask_logits=torch.from_numpy(arrays[f"pred_masks_{level}"]),
            class_logits=torch.from_numpy(arrays[f"pred_logits_{level}"]),
        )
        for level in range(2)
    ]
    joined = JoinedTargets.of(golden_targets(arrays, 2, (96, 128)), CPU)
    earlier, final = match(outputs, joined, RecordedRandom(arrays, 2, 2), loss_config(golden))
    for recorded, found in enumerate((final, earlier)):
        for image in range(2):
            pairs = np.stack([found[image].queries, found[image].targets])
            assert np.array_equal(pairs, arrays[f"match_{recorded}_{image}"])


def test_an_image_is_matched_the_same_alone_and_in_a_batch():
    outputs, targets = outputs_of(4), targets_of([1, 0, 8, 3])
    where = matching_points(4)
    together = costs(outputs[0], JoinedTargets.of(targets, CPU), where, SMALL)
    for image in (0, 2, 3):
        part = SanOutput(
            mask_logits=outputs[0].mask_logits[image, None], class_logits=outputs[0].class_logits[image, None]
        )
        alone = costs(part, JoinedTargets.of([targets[image]], CPU), where[image, None], SMALL)[0]
        assert torch.allclose(together[image, :, : len(targets[image])], alone, rtol=0, atol=1e-12)


def test_images_without_targets_are_matched_with_nothing():
    outputs = outputs_of(3)
    for counts in ([0, 2, 0], [0, 0, 0]):
        for level in match(outputs, JoinedTargets.of(targets_of(counts), CPU), generator(), SMALL):
            assert [len(found.queries) for found in level] == counts
            assert all(found.queries.dtype == found.targets.dtype == np.int64 for found in level)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["mask_logits", "class_logits"])
def test_logits_that_are_not_finite_are_an_error_of_one_line(wrong, kind):
    outputs = outputs_of(2)
    with torch.no_grad():
        getattr(outputs[1], kind)[1, 3] = wrong
    joined = JoinedTargets.of(targets_of([2, 2]), CPU)
    with pytest.raises(FloatingPointError, match="image 1 of the batch are not finite at output 1") as raised:
        match(outputs, joined, generator(), SMALL)
    assert "\n" not in str(raised.value)


def test_logits_of_images_without_targets_are_not_looked_at():
    outputs = outputs_of(2, levels=1)
    with torch.no_grad():
        outputs[0].mask_logits[0] = float("nan")
    ((first, second),) = match(outputs, JoinedTargets.of(targets_of([0, 2]), CPU), generator(), SMALL)
    assert (len(first.queries), len(second.queries)) == (0, 2)


def test_costs_are_float32_under_autocast():
    (output,), joined = in_float32(outputs_of(2, levels=1)), JoinedTargets.of(targets_of([2, 3]), CPU)
    where = matching_points(2)
    plain = costs(output, joined, where, SMALL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(costs(output, joined, where, SMALL), plain)
    assert plain.dtype == torch.float32
