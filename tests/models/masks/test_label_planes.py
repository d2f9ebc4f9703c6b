"""Run lengths written from label planes, against pycocotools and the encoder of single masks."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco

from maskmill.models.masks.label_planes import NONE, plane_runs, read, written
from maskmill.models.masks.rle import EncodedMask, encode_and_measure

Plane = NDArray[np.uint8]


def encoded(planes: list[Plane], segments: list[list[int]]) -> tuple[list[EncodedMask], torch.Tensor]:
    """What is written of planes when `segments[m][label]` says whose the pixels are, and pixels by plane and label."""
    flat = torch.cat([torch.from_numpy(plane.T.reshape(-1).copy()) for plane in planes])
    pixels = torch.tensor([plane.size for plane in planes])
    firsts = pixels.cumsum(0) - pixels
    runs = plane_runs(flat, firsts)
    of_label = torch.tensor(segments)
    counts = runs.pixels(*of_label.shape)
    count = int(of_label.max()) + 1
    owner = torch.tensor([int((of_label == segment).any(1).nonzero()) for segment in range(count)])
    told = written(
        runs,
        of_label,
        firsts=firsts[owner],
        pixels=pixels[owner],
        heights=torch.tensor([planes[plane].shape[0] for plane in owner.tolist()]),
        longest=int(pixels.max()),
    )
    areas = [int(counts[of_label == segment].sum()) for segment in range(count)]
    return read(told.text.numpy(), told.numbers.numpy(), areas), counts


def agree(planes: list[Plane], segments: list[list[int]]) -> None:
    found, counts = encoded(planes, segments)
    for number, segment in enumerate(found):
        ((index, labels),) = [
            (m, np.flatnonzero(np.array(row) == number)) for m, row in enumerate(segments) if number in row
        ]
        mask = np.isin(planes[index], labels)
        assert segment.rle == coco.encode(np.asfortranarray(mask, np.uint8))["counts"]
        assert [segment] == encode_and_measure(torch.from_numpy(mask)[None])
        assert list(segment.bbox) == coco.toBbox({"size": list(mask.shape), "counts": segment.rle}).tolist()
    for plane, row in zip(planes, counts.tolist(), strict=True):
        assert row == np.bincount(plane.reshape(-1), minlength=len(row)).tolist()


def drawn(seed: int) -> tuple[list[Plane], list[list[int]]]:
    """Planes of several sizes, noise or stripes; labels that are dropped, alone, or joined with another."""
    draw = np.random.default_rng(seed)
    labels = int(draw.integers(1, 7))
    planes: list[Plane] = []
    segments: list[list[int]] = []
    count = 0
    for _ in range(draw.integers(1, 5)):
        height, width = draw.integers(1, 14, size=2) * (1 if seed % 8 else 40)
        noise = draw.integers(0, labels + 1, size=height * width)
        stripes = (draw.random(height * width) < 0.03).cumsum() % (labels + 1)
        planes.append((noise if seed % 2 else stripes).reshape(width, height).T.astype(np.uint8))
        row = [NONE] * (labels + 1)
        own = []
        for label in np.unique(planes[-1]):
            choice = draw.random()
            if own and choice < 0.4:
                row[label] = own[-1]
            elif choice < 0.8:
                row[label] = count
                own.append(count)
                count += 1
        segments.append(row)
    return planes, segments


@pytest.mark.parametrize("seed", range(60))
def test_segments_of_planes_are_written_as_pycocotools_writes_them(seed: int) -> None:
    planes, segments = drawn(seed)
    if max(max(row) for row in segments) >= 0:
        agree(planes, segments)


def test_the_drawn_planes_join_labels_and_drop_some() -> None:
    rows = [row for seed in range(60) for row in drawn(seed)[1]]
    assert sum(len(set(row) - {NONE}) < len([label for label in row if label != NONE]) for row in rows) > 20
    assert sum(NONE in row for row in rows) > 20


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1), (37, 53)])
def test_one_segment_may_hold_its_whole_plane(shape: tuple[int, int]) -> None:
    agree([np.zeros(shape, np.uint8), np.ones(shape, np.uint8)], [[0, NONE], [NONE, 1]])


def test_equal_labels_at_the_border_of_two_planes_are_two_runs() -> None:
    agree([np.full((3, 4), 2, np.uint8), np.full((3, 4), 2, np.uint8)], [[NONE, NONE, 0], [NONE, NONE, 1]])


def test_labels_side_by_side_that_are_one_segment_are_one_run() -> None:
    plane = np.array([[0, 1, 2], [0, 1, 2]], np.uint8)
    (only,), _ = encoded([plane], [[0, 0, NONE]])
    assert coco.decode({"size": [2, 3], "counts": only.rle}).tolist() == [[1, 1, 0], [1, 1, 0]]
    assert only.rle == coco.encode(np.asfortranarray([[1, 1, 0], [1, 1, 0]], np.uint8))["counts"]


@pytest.mark.parametrize("width", [15, 16, 511, 512, 16_383, 16_384, 524_288])
def test_runs_at_the_borders_of_a_character_are_as_long_as_they_should_be(width: int) -> None:
    plane = np.zeros((1, width), np.uint8)
    plane[0, -1] = plane[0, 0] = 1
    agree([plane], [[0, 1]])


def test_runs_of_many_lengths_keep_their_signs() -> None:
    draw = np.random.default_rng(0)
    lengths = np.concatenate([2 ** draw.integers(0, 17, size=40), [1]])
    plane = np.repeat(np.arange(len(lengths)) % 3, lengths)[None].astype(np.uint8)
    agree([plane], [[0, 1, 2]])
