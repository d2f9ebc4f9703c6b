"""The general form against loops over pixels, and what competition and merging mean."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from maskmill.models.inference import upsample
from maskmill.models.inference.forms import GeneralInference
from maskmill.models.inference.run import segments_of
from maskmill.models.segment import Segment
from tests.models.inference.plain_inference import Case, plain_general, random_case


def label(case: Case, threshold: float = 0.5, overlap: float = 0.2, *, soft_masks: bool = False) -> list[Segment]:
    form = GeneralInference(score_threshold=threshold, overlap_threshold=overlap)
    return segments_of(**case.arguments, inference=form, top_k=5, soft_masks=soft_masks)


def box_case(
    boxes: list[tuple[int, int, int, int]], classes: list[list[float]], stuff: list[bool], height: float = 9.0
) -> Case:
    """Masks that are boxes (y, x, y end, x end) on a grid of 12 x 16 where a cell is a pixel; rows of probabilities."""
    masks = torch.full((len(boxes), 12, 16), -height, dtype=torch.float64)
    for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = height
    return Case(
        mask_logits=masks,
        class_logits=torch.log(torch.tensor(classes, dtype=torch.float64)),
        stuff=torch.tensor(stuff),
        padded=(12, 16),
        size=(12, 16),
        mask_size=(12, 16),
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.2])
def test_segments_are_those_of_the_plain_formula(seed: int, overlap: float) -> None:
    case = random_case(seed, queries=20)
    plain = plain_general(case, 0.5, overlap)
    ours = label(case, overlap=overlap)
    assert len(plain) >= 3
    assert [(s.query, s.vocab_id) for s in ours] == [(s.query, s.vocab_id) for s in plain]
    for segment, expected in zip(ours, plain, strict=True):
        assert np.array_equal(segment.mask, expected.mask)
        assert segment.area == expected.mask.sum()
        for name in ("kept", "mask_score", "stability", "score", "margin", "background_logit"):
            assert getattr(segment, name) == pytest.approx(getattr(expected, name), abs=1e-12), name
        assert list(segment.top_ids) == expected.top_ids
        assert list(segment.top_logits) == pytest.approx(expected.top_logits, abs=1e-12)


def test_the_random_cases_do_merge_stuff() -> None:
    """Else the test above would say nothing about merging."""
    merged = 0
    for seed in range(6):
        case = random_case(seed, queries=20)
        things = Case(**{**case.__dict__, "stuff": torch.zeros_like(case.stuff)})
        merged += len(plain_general(things, 0.5, 0.2)) - len(plain_general(case, 0.5, 0.2))
    assert merged >= 3


@pytest.mark.parametrize("seed", range(3))
def test_segments_share_no_pixel_and_decode_to_their_area_and_bbox(seed: int) -> None:
    segments = label(random_case(seed, queries=20))
    assert len(segments) >= 3
    assert np.sum([segment.mask for segment in segments], axis=0).max() == 1
    for segment in segments:
        encoded = {"size": list(segment.mask_size), "counts": segment.rle}
        assert segment.area == coco.area(encoded)
        assert list(segment.bbox) == coco.toBbox(encoded).tolist()
        assert np.array_equal(segment.mask, coco.decode(encoded).astype(bool))


def test_a_pixel_goes_to_the_higher_score_times_probability() -> None:
    case = box_case([(0, 0, 8, 8), (4, 4, 12, 12)], [[0.9, 0.05, 0.05], [0.05, 0.7, 0.25]], [False, False])
    first, second = label(case)
    assert (first.area, first.kept) == (64, 1.0)
    assert (second.area, second.kept) == (48, 0.75)
    assert not second.mask[4:8, 4:8].any()


def test_a_segment_that_keeps_less_than_the_overlap_threshold_is_dropped_and_its_pixels_stay_free() -> None:
    case = box_case([(0, 0, 8, 8), (4, 4, 12, 12)], [[0.9, 0.05, 0.05], [0.05, 0.7, 0.25]], [False, False])
    assert [s.query for s in label(case, overlap=0.75)] == [0, 1]
    (only,) = label(case, overlap=0.751)
    assert (only.query, only.area) == (0, 64)


def test_equal_queries_are_won_by_the_lowest() -> None:
    case = box_case(
        [(1, 1, 5, 5)] * 4, [[0.1, 0.1, 0.8], [0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], [False] * 2
    )
    (only,) = label(case, overlap=0.0)
    assert only.query == 1


def test_a_pixel_won_outside_the_querys_own_mask_is_nobodys() -> None:
    case = box_case([(0, 0, 3, 3), (6, 6, 9, 9)], [[0.9, 0.05, 0.05], [0.05, 0.9, 0.05]], [False, False], height=2.0)
    assert sum(segment.area for segment in label(case)) == 18


def test_stuff_of_one_class_merges_and_things_do_not() -> None:
    boxes = [(0, 0, 2, 2), (0, 8, 4, 12), (8, 0, 10, 2), (8, 8, 10, 10)]
    classes = [[0.9, 0.05, 0.05], [0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.05, 0.8, 0.15]]
    merged, thing, other = label(box_case(boxes, classes, [True, False]), soft_masks=True)
    assert (merged.query, merged.vocab_id, merged.area, merged.bbox) == (1, 0, 4 + 16, (0, 0, 12, 4))
    assert merged.score == pytest.approx(0.7)
    assert merged.kept == 1.0
    assert merged.mask_logits is not None
    assert (merged.mask_logits > 0).sum() == 16
    assert [(s.query, s.area) for s in (thing, other)] == [(2, 4), (3, 4)]


def test_segments_stay_in_the_order_of_queries_when_a_later_query_leads_a_merge() -> None:
    boxes = [(0, 0, 2, 2), (8, 0, 10, 2), (0, 8, 4, 12)]
    classes = [[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.7, 0.2, 0.1]]
    assert [s.query for s in label(box_case(boxes, classes, [True, False]))] == [1, 2]


def test_merged_stuff_keeps_what_the_whole_segment_covers_of_the_leaders_own_mask() -> None:
    # Query 0 takes a corner out of query 1 of the same stuff class: together they cover all of query 1's mask.
    case = box_case([(0, 0, 4, 4), (0, 0, 8, 8)], [[0.9, 0.05, 0.05], [0.7, 0.2, 0.1]], [True, False])
    (merged,) = label(case)
    assert (merged.query, merged.area, merged.kept) == (1, 64, 1.0)
    apart = label(Case(**{**case.__dict__, "stuff": torch.tensor([False, False])}))
    assert [(s.query, s.kept) for s in apart] == [(0, 1.0), (1, 0.75)]


def test_equal_parts_of_a_merge_are_led_by_the_lowest_query() -> None:
    case = box_case([(0, 0, 2, 2), (4, 4, 6, 6)], [[0.7, 0.2, 0.1], [0.9, 0.05, 0.05]], [True, False])
    (merged,) = label(case)
    assert (merged.query, merged.area) == (0, 8)


def test_fields_are_of_the_mask_before_competition() -> None:
    case = box_case([(0, 0, 8, 8), (4, 4, 12, 12)], [[0.9, 0.05, 0.05], [0.05, 0.7, 0.25]], [False, False])
    case.mask_logits[1, 4:8, 4:8] = 0.5
    _, second = label(case)
    expected = (48 / (1 + np.exp(-9.0)) + 16 / (1 + np.exp(-0.5))) / 64
    assert second.mask_score == pytest.approx(expected)
    assert second.stability == pytest.approx(48 / 64)
    assert second.area == 48


def test_nothing_sure_gives_no_segments() -> None:
    assert label(random_case(0), threshold=1.0) == []
    case = random_case(0)
    case.class_logits[:, -1] = 50
    assert label(case, threshold=0.0) == []


def test_sure_queries_without_pixels_give_no_segments() -> None:
    case = random_case(0)
    case.mask_logits[:] = -3
    assert label(case, threshold=0.0, overlap=0.0) == []


@pytest.mark.parametrize("elements", [1, 999, 1 << 28])
def test_segments_do_not_depend_on_the_height_of_bands(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(5, queries=20)
    expected = label(case)
    monkeypatch.setattr(upsample, "CPU_BAND_ELEMENTS", elements)
    for ours, before in zip(label(case), expected, strict=True):
        assert (ours.query, ours.rle, ours.kept, ours.stability) == (
            before.query,
            before.rle,
            before.kept,
            before.stability,
        )
        assert ours.mask_score == pytest.approx(before.mask_score, abs=1e-12)
