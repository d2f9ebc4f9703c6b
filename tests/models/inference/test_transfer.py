"""Arrays cross whole and unchanged."""

import numpy as np
import pytest
import torch

from maskmill.models.inference.transfer import fetch, place
from tests.models.inference.waits import Waits


def test_tensors_of_any_shape_and_type_come_back_as_they_were() -> None:
    tensors = [
        torch.randn(3, 4, dtype=torch.float64),
        torch.randint(-9, 9, (5,)),
        torch.zeros(0, 7, dtype=torch.int64),
        torch.randint(0, 255, (11,), dtype=torch.uint8),
        torch.randn(3, 4).mT > 0,
        torch.randint(-9, 9, (2, 3, 1), dtype=torch.int8),
    ]
    for array, tensor in zip(fetch(tensors), tensors, strict=True):
        assert array.dtype == tensor.numpy().dtype
        assert np.array_equal(array, tensor.numpy())


def test_however_many_they_are_they_are_waited_for_once() -> None:
    with Waits() as waits:
        fetch([torch.zeros(3)[:0].double()] * 9 + [torch.zeros(3, dtype=torch.bool)])
    assert len(waits.seen) == 1


def test_a_narrow_type_before_a_wider_one_is_refused() -> None:
    with pytest.raises(AssertionError, match="wider types come first"):
        fetch([torch.zeros(3, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)])


def test_arrays_are_placed_in_their_shapes() -> None:
    arrays = [np.arange(6).reshape(2, 3), np.zeros(0, np.int64), np.array([7])]
    for tensor, array in zip(place(arrays, torch.device("cpu")), arrays, strict=True):
        assert tensor.tolist() == array.tolist()
