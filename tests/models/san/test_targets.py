"""Targets, and a batch of them."""

import pytest
import torch

from maskmill.models.san.targets import JoinedTargets, Target
from tests.models.san.plain_losses import targets_of


def test_targets_of_a_batch_are_laid_end_to_end():
    targets = targets_of([2, 0, 3])
    joined = JoinedTargets.of(targets, torch.device("cpu"))
    assert joined.counts == (2, 0, 3)
    assert joined.starts == [0, 2, 2]
    assert joined.images.tolist() == [0, 0, 2, 2, 2]
    assert joined.places.tolist() == [0, 1, 0, 1, 2]
    assert joined.masks.dtype == torch.bool
    assert torch.equal(joined.masks[2:], targets[2].masks)
    assert torch.equal(joined.class_ids[:2], targets[0].class_ids)


def test_no_target_at_all_is_a_batch_too():
    joined = JoinedTargets.of(targets_of([0, 0]), torch.device("cpu"))
    assert (len(joined.masks), joined.images.shape, joined.places.shape) == (0, (0,), (0,))


@pytest.mark.parametrize(
    ("masks", "ids"),
    [
        (torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 4, 4), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(2, 4, 4), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(4, 4), torch.zeros(4, dtype=torch.int64)),
    ],
)
def test_masks_and_class_ids_of_another_kind_are_refused(masks, ids):
    with pytest.raises(AssertionError):
        Target(masks=masks, class_ids=ids)


def test_masks_of_several_sizes_are_no_batch():
    with pytest.raises(AssertionError, match="share the padded input's size"):
        JoinedTargets.of([*targets_of([1]), *targets_of([1], size=(8, 8))], torch.device("cpu"))
