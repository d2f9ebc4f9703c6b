"""Class and mask scores against numbers worked out by hand or with NumPy."""

import math

import numpy as np
import pytest
import torch

from maskmill.models.inference.statistics import PASSES, MaskTally, _highest, class_scores, confident, count, quantised
from tests.models.inference.plain_inference import describe


def test_class_scores_equal_a_plain_softmax() -> None:
    rows = torch.randn(20, 31, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4
    for ours, row in zip(class_scores(rows, 5), rows.numpy(), strict=True):
        plain = describe(row, 5)
        assert (ours.vocab_id, list(ours.top_ids)) == (plain["vocab_id"], plain["top_ids"])
        assert list(ours.top_logits) == plain["top_logits"]
        assert ours.background_logit == row[-1]
        assert ours.score == pytest.approx(plain["score"], abs=1e-12)
        assert ours.margin == pytest.approx(plain["margin"], abs=1e-12)


def test_background_is_in_the_softmax_but_never_in_the_list() -> None:
    (scores,) = class_scores(torch.tensor([[0.0, math.log(3), math.log(4)]]), 5)
    assert (scores.vocab_id, scores.top_ids) == (1, (1, 0))
    assert scores.score == pytest.approx(3 / 8)
    assert scores.margin == pytest.approx(2 / 8)
    assert scores.background_logit == pytest.approx(math.log(4))


def test_equal_logits_are_listed_by_lower_id() -> None:
    row = torch.zeros(1, 400)
    row[0, 390:395] = 1
    (scores,) = class_scores(row, 8)
    assert scores.top_ids == (390, 391, 392, 393, 394, 0, 1, 2)
    assert scores.margin == 0


def test_k_larger_than_the_vocabulary_lists_all_names() -> None:
    (scores,) = class_scores(torch.tensor([[1.0, 3.0, 2.0, 0.0]]), 100)
    assert scores.top_ids == (1, 2, 0)
    assert scores.top_logits == (3.0, 2.0, 1.0)


def test_k_of_one_still_has_a_margin_to_the_second() -> None:
    (one,), (many,) = (class_scores(torch.tensor([[1.0, 3.0, 2.0, 0.0]]), k) for k in (1, 3))
    assert one.top_ids == (1,)
    assert one.margin == many.margin > 0


def test_a_vocabulary_of_one_has_its_score_as_margin() -> None:
    (scores,) = class_scores(torch.tensor([[math.log(3), 0.0]]), 5)
    assert scores.top_ids == (0,)
    assert scores.margin == scores.score == pytest.approx(0.75)


def test_a_given_class_comes_first_among_equals_and_keeps_its_raw_logit() -> None:
    (scores,) = class_scores(torch.tensor([[2.0, 2.0, 1.0, 0.0]]), 3, given=torch.tensor([1]))
    assert (scores.vocab_id, scores.top_ids, scores.top_logits) == (1, (1, 0, 2), (2.0, 2.0, 1.0))


def test_queries_are_confident_when_a_name_beats_background_and_the_threshold() -> None:
    rows = torch.log(torch.tensor([[6.0, 2, 2], [2.0, 2, 6], [5.0, 4, 1], [4.0, 4, 2], [4.0, 2, 4]]))
    assert confident(rows, 0.0).tolist() == [0, 2, 3, 4]
    assert confident(rows, 0.45).tolist() == [0, 2]
    assert confident(rows, 0.55).tolist() == [0]
    assert confident(rows, 1.0).tolist() == []


def test_the_threshold_itself_is_enough() -> None:
    assert confident(torch.tensor([[0.0, 0.0, 0.0, 0.0]]), 0.25).tolist() == [0]


def test_a_tally_of_bands_is_the_tally_of_the_whole() -> None:
    logits = torch.randn(5, 9, 13, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 3
    logits[4] = -3
    tally = MaskTally(5, torch.device("cpu"))
    for start, stop in ((0, 1), (1, 7), (7, 9)):
        part = logits[:, start:stop]
        assert torch.equal(tally.add(part, part.sigmoid()), part >= 0)
    for ours, row in zip(tally.results()[:4], logits.numpy(), strict=False):
        own = row >= 0
        assert ours.area == own.sum()
        assert ours.mask_score == pytest.approx((1 / (1 + np.exp(-row)))[own].mean(), abs=1e-12)
        assert ours.stability == pytest.approx((row >= 1).sum() / (row >= -1).sum(), abs=1e-12)
    assert (tally.results()[4].area, tally.results()[4].mask_score, tally.results()[4].stability) == (0, 0.0, 0.0)


def test_counts_are_exact_and_int64() -> None:
    masks = torch.rand(7, 31, 17, generator=torch.Generator().manual_seed(4)) < 0.3
    assert count(masks).dtype == torch.int64
    assert count(masks).tolist() == masks.flatten(1).numpy().sum(1).tolist()
    assert count(masks[:, 3:9, ::2]).tolist() == masks[:, 3:9, ::2].flatten(1).numpy().sum(1).tolist()
    assert count(masks[:0]).tolist() == []


def test_quantised_logits_follow_their_formula_and_lose_the_padding() -> None:
    logits = torch.linspace(-20, 20, 2 * 4 * 6, dtype=torch.float64).view(2, 4, 6)
    quantised_logits = quantised(logits, padded=(64, 96), size=(33, 80))
    assert quantised_logits.dtype == np.int8
    assert quantised_logits.shape == (2, 3, 5)
    expected = np.round(np.clip(logits.numpy()[:, :3, :5], -16, 16) * 127 / 16)
    assert np.array_equal(quantised_logits, expected)
    assert quantised_logits.min() == -127


@pytest.mark.parametrize(
    ("size", "shape"), [((1, 1), (1, 1)), ((16, 17), (1, 2)), ((64, 96), (4, 6)), ((48, 81), (3, 6))]
)
def test_quantised_logits_keep_every_cell_that_touches_the_image(size: tuple[int, int], shape: tuple[int, int]) -> None:
    assert quantised(torch.zeros(1, 4, 6), (64, 96), size).shape[1:] == shape


@pytest.mark.parametrize("count", [1, 2, 5, PASSES, PASSES + 1, 40])
def test_the_highest_logits_are_found_in_the_order_of_a_stable_sort(count: int) -> None:
    draw = torch.Generator().manual_seed(0)
    keys = torch.randint(0, 6, (7, 40), generator=draw).float()  # many equal ones
    before = keys.clone()
    assert torch.equal(_highest(keys, count), keys.sort(dim=1, descending=True, stable=True).indices[:, :count])
    assert torch.equal(keys, before)
