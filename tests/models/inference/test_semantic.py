"""The semantic form against the plain formula over the whole volume."""

import numpy as np
import pytest
import torch

from maskmill.models.inference import semantic, upsample
from maskmill.models.inference.forms import SemanticInference
from maskmill.models.inference.run import segments_of
from maskmill.models.segment import Segment
from tests.models.inference.plain_inference import Case, plain_semantic, plain_sums, random_case


def label(case: Case, top_k: int = 5) -> list[Segment]:
    return segments_of(**case.arguments, inference=SemanticInference(), top_k=top_k, soft_masks=False)


def label_map(segments: list[Segment]) -> np.ndarray:
    labels = np.full(segments[0].mask_size, -1)
    for segment in segments:
        assert (labels[segment.mask] == -1).all()
        labels[segment.mask] = segment.vocab_id
    return labels


@pytest.mark.parametrize("seed", range(5))
def test_segments_are_those_of_the_plain_formula(seed: int) -> None:
    case = random_case(seed)
    plain, ours = plain_semantic(case), label(case)
    assert len(plain) >= 3
    assert [segment.vocab_id for segment in ours] == [segment.vocab_id for segment in plain]
    for segment, expected in zip(ours, plain, strict=True):
        assert np.array_equal(segment.mask, expected.mask)
        assert segment.area == expected.mask.sum()
        assert list(segment.top_ids) == expected.top_ids
        assert list(segment.top_logits) == pytest.approx(expected.top_logits, abs=1e-10)
        assert segment.background_logit == pytest.approx(expected.background_logit, abs=1e-10)
        assert segment.score == pytest.approx(expected.score, abs=1e-10)
        assert segment.margin == pytest.approx(expected.margin, abs=1e-10)
        assert segment.query == -1
        assert (segment.mask_score, segment.stability, segment.kept, segment.mask_logits) == (None,) * 4


def test_every_pixel_has_exactly_one_class() -> None:
    segments = label(random_case(1))
    assert (label_map(segments) >= 0).all()
    assert sum(segment.area for segment in segments) == 23 * 37


@pytest.mark.parametrize("seed", range(3))
def test_float32_differs_from_the_plain_argmax_only_where_the_top_two_are_close(seed: int) -> None:
    case = random_case(seed, queries=30, names=60, dtype=torch.float32, mask_size=(150, 211))
    sums = np.sort(plain_sums(case)[:-1], axis=0)
    different = label_map(label(case)) != plain_sums(case)[:-1].argmax(0)
    assert (sums[-1] - sums[-2])[different].max(initial=0) <= 1e-5


@pytest.mark.parametrize(("elements", "rows"), [(1, 3_000), (77, 1), (1 << 28, 1 << 28)])
def test_segments_do_not_depend_on_the_size_of_chunks(
    elements: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = random_case(2)
    expected = label(case)
    monkeypatch.setattr(semantic, "CPU_SUM_ELEMENTS", elements)
    monkeypatch.setattr(upsample, "CPU_BAND_ELEMENTS", rows)
    for ours, before in zip(label(case), expected, strict=True):
        assert (ours.vocab_id, ours.rle, ours.top_ids) == (before.vocab_id, before.rle, before.top_ids)
        assert list(ours.top_logits) == pytest.approx(before.top_logits, abs=1e-12)


def test_a_vocabulary_of_one_takes_the_whole_image() -> None:
    (only,) = label(random_case(0, names=1))
    assert (only.vocab_id, only.area, only.bbox) == (0, 23 * 37, (0, 0, 37, 23))
    assert only.margin == only.score


def test_k_larger_than_the_vocabulary_lists_all_names() -> None:
    assert all(sorted(segment.top_ids) == list(range(7)) for segment in label(random_case(0), top_k=50))


def test_a_class_that_no_pixel_prefers_has_no_segment() -> None:
    case = random_case(0)
    case.class_logits[:, 3] = -50
    assert 3 not in {segment.vocab_id for segment in label(case)}


def test_masks_that_vanish_in_float32_still_leave_finite_numbers() -> None:
    case = random_case(0, dtype=torch.float32)
    case.mask_logits[:] = -1e6
    case.class_logits[:, :-1] -= 2_000
    segments = label(case)
    assert sum(segment.area for segment in segments) == 23 * 37
    assert all(np.isfinite(segment.top_logits).all() and np.isfinite(segment.score) for segment in segments)


def test_names_keep_their_pixels_where_background_is_all_but_certain() -> None:
    case, faint = random_case(5), random_case(5)
    case.class_logits[:, :-1] -= 30
    faint.class_logits[:, :-1] -= 200
    faint = Case(**{**faint.__dict__, "class_logits": faint.class_logits.float()})
    assert len(plain_semantic(case)) >= 3
    assert np.array_equal(label_map(label(faint)), plain_sums(case)[:-1].argmax(0))


def test_a_large_vocabulary_stays_within_its_chunks() -> None:
    """21,000 names x 23 x 37 pixels would be 71 MB of float32; a chunk is 2 MB."""
    case = random_case(0, names=21_000, dtype=torch.float32)
    segments = label(case)
    assert np.array_equal(label_map(segments), plain_sums(case)[:-1].argmax(0))


@pytest.mark.parametrize("seed", range(4))
def test_names_are_only_left_out_where_they_can_not_be_highest(seed: int) -> None:
    """Masks as fine as the tiles are coarse, so that bounds are loose and names change from pixel to pixel."""
    case = random_case(seed, queries=15, names=90, padded=(48, 64), size=(48, 64), mask_size=(48, 64))
    generator = torch.Generator().manual_seed(seed)
    case.mask_logits = torch.randn(15, 48, 64, generator=generator, dtype=torch.float64) * 5
    assert np.array_equal(label_map(label(case)), plain_sums(case)[:-1].argmax(0))


def test_most_of_a_large_vocabulary_is_never_summed() -> None:
    probabilities = random_case(0, names=3_000).class_logits.softmax(1)[:, :-1].T.contiguous()
    masks = random_case(0).mask_logits.repeat_interleave(16, 1).repeat_interleave(16, 2).sigmoid()
    candidates = semantic._candidates(probabilities, masks)
    assert len(candidates) < 300
    assert set(torch.einsum("nq,qhw->nhw", probabilities, masks).argmax(0).unique().tolist()) <= set(
        candidates.tolist()
    )


@pytest.mark.parametrize("shape", [(3, 16, 64), (2, 37, 53), (1, 1, 1), (4, 5, 100), (1, 48, 17)])
def test_the_highest_of_each_tile_is_that_of_max_pooling(shape: tuple[int, int, int]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    pooled = torch.nn.functional.max_pool2d(values, semantic.TILE, ceil_mode=True)
    assert torch.equal(semantic._tile_max(values), pooled)
