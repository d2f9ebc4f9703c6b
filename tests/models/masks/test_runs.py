"""Runs against pixels counted one by one; what a GPU does is the same on the CPU's memory."""

from itertools import groupby

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from maskmill.models.masks import runs

SHAPES = [(1, 1), (1, 9), (9, 1), (13, 11), (40, 61), (64, 64)]


def masks_of(shape: tuple[int, int]) -> NDArray[np.bool_]:
    rng = np.random.default_rng(shape[0])
    some = rng.random((7, *shape)) < np.linspace(0, 1, 7)[:, None, None]
    return np.concatenate((some, np.zeros((1, *shape), np.bool_), np.ones((2, *shape), np.bool_)))


def counted(mask: NDArray[np.bool_]) -> list[int]:
    values = [False, *mask.T.reshape(-1).tolist()]
    lengths = [len(list(same)) for _, same in groupby(values)]
    return [lengths[0] - 1, *lengths[1:]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("find", [runs.runs_of, runs._on_device])
def test_runs_are_those_that_counting_pixels_gives(find, shape: tuple[int, int]) -> None:
    masks = masks_of(shape)
    expected = [counted(mask) for mask in masks]
    lengths, counts = find(torch.from_numpy(masks))
    assert counts.tolist() == [len(one) for one in expected]
    assert lengths.tolist() == [length for one in expected for length in one]


def test_a_device_takes_masks_in_pieces_where_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = torch.from_numpy(masks_of((13, 11)))
    whole = runs._on_device(masks)
    monkeypatch.setattr(runs, "MAX_BATCH_PIXELS", 2 * 13 * 11)
    pieces = runs._on_device(masks)
    assert all(np.array_equal(one, other) for one, other in zip(pieces, whole, strict=True))


@pytest.mark.gpu
def test_a_gpu_finds_the_same_runs() -> None:
    masks = torch.from_numpy(masks_of((40, 61)))
    found, expected = runs.runs_of(masks.cuda()), runs.runs_of(masks)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
