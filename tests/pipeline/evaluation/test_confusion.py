"""Counts and scores against cases worked out by hand, and against plain loops over pixels."""

import math

import numpy as np
import pytest

from maskmill.pipeline.evaluation.confusion import collapse, count, iou, mean_iou, pixel_accuracy

# Three classes a, b, c = 0, 1, 2; 3 is "nothing predicted", -1 "nobody labeled it".
TRUTH = np.array([[0, 0, 0, 1], [1, 1, 2, -1]])
FOUND = np.array([[0, 0, 1, 1], [1, 3, 0, 2]])


def test_a_case_worked_out_by_hand():
    counts = count(TRUTH, FOUND, 3)
    assert counts.tolist() == [[2, 1, 0, 0], [0, 2, 0, 1], [1, 0, 0, 0]]
    # a: 2 hits; 3 true, 3 predicted: 2 / 4. b: 2 hits; 3 true, 3 predicted: 2 / 4. c: 0 of 1.
    assert iou(counts).tolist() == [0.5, 0.5, 0.0]
    assert mean_iou(counts) == pytest.approx(1 / 3)
    assert mean_iou(counts, [0, 1]) == 0.5
    assert pixel_accuracy(counts) == 4 / 7


def test_collapsing_forgives_confusion_within_a_part():
    # a and b as one: 6 true pixels, of which 5 are found as a or b and 1 is unlabeled; c's one pixel is found as a.
    coarse = collapse(count(TRUTH, FOUND, 3), [(0, 1), (2,)])
    assert coarse.tolist() == [[5, 0, 1], [1, 0, 0]]
    assert iou(coarse).tolist() == [5 / 7, 0.0]


def test_a_part_left_out_takes_its_true_pixels_along_and_its_predictions_become_none():
    assert collapse(count(TRUTH, FOUND, 3), [(0,), (2,)]).tolist() == [[2, 0, 1], [1, 0, 0]]


def test_a_class_that_never_occurs_has_no_iou_and_one_that_is_only_predicted_has_zero():
    counts = count(np.array([[0, 0]]), np.array([[0, 1]]), 3)
    assert iou(counts)[:2].tolist() == [0.5, 0.0]
    assert math.isnan(iou(counts)[2])
    assert mean_iou(counts) == 0.25
    assert math.isnan(mean_iou(counts, [2]))


def test_without_labeled_pixels_there_are_no_scores():
    counts = count(np.full((2, 2), -1), np.zeros((2, 2), int), 2)
    assert not counts.any()
    assert math.isnan(pixel_accuracy(counts))
    assert math.isnan(mean_iou(counts))


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_plain_loops_over_pixels(seed):
    rng = np.random.default_rng(seed)
    truth, found = rng.integers(-1, 6, (9, 11)), rng.integers(0, 7, (9, 11))
    counts = count(truth, found, 6)
    kept = [(t, f) for t, f in zip(truth.flat, found.flat, strict=True) if t >= 0]
    for one in range(6):
        both = sum(t == one and f == one for t, f in kept)
        either = sum(one in (t, f) for t, f in kept)
        assert iou(counts)[one] == pytest.approx(both / either)
    assert pixel_accuracy(counts) == pytest.approx(sum(t == f for t, f in kept) / len(kept))
