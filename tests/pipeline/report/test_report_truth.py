import numpy as np
import pytest
import torch

from maskmill.models.masks import rle
from maskmill.pipeline.evaluation.confusion import count, iou, mean_iou, pixel_accuracy
from maskmill.pipeline.report.truth import compare


def row_of(ids: np.ndarray, classes: list[int]) -> dict:
    """A row whose segments are the places of each class in a class map."""
    masks = torch.from_numpy(np.stack([ids == one for one in classes]))
    return {
        "mask_height": ids.shape[0],
        "mask_width": ids.shape[1],
        "segments": [{"vocab_id": one, "score": 0.5} for one in classes],
        "masks": rle.encode(masks),
    }


@pytest.mark.parametrize("seed", range(5))
def test_a_comparison_gives_what_counts_over_the_whole_vocabulary_give(seed):
    random = np.random.default_rng(seed)
    truth = random.integers(-1, 6, (40, 30)).astype(np.int32) * 3
    truth[truth < 0] = -1
    predicted = random.integers(0, 8, (40, 30)) * 3
    classes = [0, 3, 6, 12, 21]
    found = compare(row_of(predicted, classes), range(len(classes)), truth, 30)
    painted = np.where(np.isin(predicted, classes), predicted, 30)
    counts = count(truth, painted, 30)
    assert found.iou == pytest.approx(mean_iou(counts))
    assert found.accuracy == pytest.approx(pixel_accuracy(counts))
    expected = {vocab_id: value for vocab_id, value in enumerate(iou(counts).tolist()) if not np.isnan(value)}
    assert dict(found.by_class) == pytest.approx(expected)


def test_only_shown_segments_count():
    truth = np.zeros((4, 4), np.int32)
    row = row_of(np.zeros((4, 4)), [0])
    assert compare(row, [0], truth, 2).iou == 1.0
    assert compare(row, [], truth, 2).iou == 0.0


def test_a_vocabulary_of_millions_costs_nothing():
    truth = np.full((4, 4), 9_999_999, np.int32)
    assert compare(row_of(truth, [9_999_999]), [0], truth, 10_000_000).accuracy == 1.0


def test_truth_without_a_labeled_pixel_is_no_number():
    found = compare(row_of(np.zeros((4, 4)), [0]), [0], np.full((4, 4), -1, np.int32), 2)
    assert np.isnan(found.iou)
    assert np.isnan(found.accuracy)
