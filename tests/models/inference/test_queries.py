"""The queries form against loops over pixels."""

import numpy as np
import pytest
import torch

from maskmill.models.inference.forms import QueriesInference
from maskmill.models.inference.run import segments_of
from tests.models.inference.plain_inference import plain_queries, random_case


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.8])
def test_segments_are_those_of_the_plain_formula(seed: int, threshold: float) -> None:
    case = random_case(seed)
    plain = plain_queries(case, threshold)
    ours = segments_of(
        **case.arguments, inference=QueriesInference(score_threshold=threshold), top_k=5, soft_masks=False
    )
    assert len(plain) >= 3
    assert [s.query for s in ours] == [s.query for s in plain]
    for segment, expected in zip(ours, plain, strict=True):
        assert np.array_equal(segment.mask, expected.mask)
        assert segment.area == expected.mask.sum()
        assert segment.kept == 1.0
        assert segment.mask_score == pytest.approx(expected.mask_score, abs=1e-12)
        assert segment.stability == pytest.approx(expected.stability, abs=1e-12)
        assert segment.score == pytest.approx(expected.score, abs=1e-12)
        assert segment.margin == pytest.approx(expected.margin, abs=1e-12)
        assert list(segment.top_ids) == expected.top_ids
        assert list(segment.top_logits) == pytest.approx(expected.top_logits, abs=1e-12)


def test_masks_may_overlap() -> None:
    case = random_case(0)
    segments = segments_of(**case.arguments, inference=QueriesInference(score_threshold=0.0), top_k=5, soft_masks=False)
    assert np.sum([segment.mask for segment in segments], axis=0).max() >= 2


def test_a_sure_query_without_a_pixel_is_dropped_and_the_others_keep_their_numbers() -> None:
    case = random_case(1)
    everything = segments_of(**case.arguments, inference=QueriesInference(), top_k=5, soft_masks=True)
    gone = everything[1].query
    case.mask_logits[gone] = -5
    rest = segments_of(**case.arguments, inference=QueriesInference(), top_k=5, soft_masks=True)
    assert [s.query for s in rest] == [s.query for s in everything if s.query != gone]
    for ours, before in zip(rest, [s for s in everything if s.query != gone], strict=True):
        assert ours.rle == before.rle
        assert np.array_equal(ours.mask_logits, before.mask_logits)


def test_each_soft_mask_is_its_own_querys() -> None:
    case = random_case(2)
    segments = segments_of(**case.arguments, inference=QueriesInference(), top_k=5, soft_masks=True)
    assert len(segments) >= 3
    for segment in segments:
        expected = np.round(np.clip(case.mask_logits[segment.query].numpy(), -16, 16) * 127 / 16)[:4, :6]
        assert np.array_equal(segment.mask_logits, expected)


def test_a_vocabulary_of_one_works() -> None:
    case = random_case(3, names=1)
    segments = segments_of(**case.arguments, inference=QueriesInference(), top_k=5, soft_masks=False)
    assert len(segments) >= 3
    assert {segment.vocab_id for segment in segments} == {0}
    assert all(segment.margin == segment.score for segment in segments)
    assert all(isinstance(segment.query, int) for segment in segments)


def test_float32_finds_the_segments_of_float64() -> None:
    case, single = random_case(4), random_case(4, dtype=torch.float32)
    form = QueriesInference()
    double = segments_of(**case.arguments, inference=form, top_k=5, soft_masks=False)
    for ours, expected in zip(
        segments_of(**single.arguments, inference=form, top_k=5, soft_masks=False), double, strict=True
    ):
        assert (ours.query, ours.top_ids) == (expected.query, expected.top_ids)
        assert ours.score == pytest.approx(expected.score, abs=1e-5)
        assert (ours.mask != expected.mask).mean() < 0.002
