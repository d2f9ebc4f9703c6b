"""COCO compressed run lengths of all segments of many label planes at once, written where the planes live.

A label plane says for each pixel of an image which of some candidates holds it. Segments that share no pixel need one
plane, not a mask each, so that their outlines are found in one pass over it. It knows nothing of queries or classes,
and asks for nothing of a data-dependent size but once: how many runs there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskmill.models.masks.rle import EncodedMask

NONE = -1
"""What `written` is told of labels that are no segment's."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlaneRuns:
    """Runs of equal labels, plane by plane, each plane read column by column. All on one device."""

    starts: Tensor
    """int64 [R], the first pixel of each run, counted over all planes; ascending."""

    ends: Tensor
    """int64 [R], the pixel after its last; no run goes on into the next plane."""

    planes: Tensor
    """int64 [R]."""

    labels: Tensor
    """int64 [R]."""

    def pixels(self, planes: int, labels: int) -> Tensor:
        """How many pixels each label has: int64 [planes, labels]."""
        counts = torch.zeros(planes * labels, dtype=torch.int64, device=self.starts.device)
        # Whole numbers: in whatever order a device adds them, the sum is the same.
        counts.index_add_(0, self.planes * labels + self.labels, self.ends - self.starts)
        return counts.view(planes, labels)


def plane_runs(labels: Tensor, firsts: Tensor) -> PlaneRuns:
    """The runs of label planes, which takes one wait for the device.

    Args:
        labels: [P], of any integer type: planes one after the other, each column by column; fewer than 2^31 pixels.
        firsts: int64 [M], where each plane begins, ascending from 0.
    """
    changed = torch.empty(len(labels), dtype=torch.bool, device=labels.device)
    torch.ne(labels[1:], labels[:-1], out=changed[1:])
    changed.index_fill_(0, firsts, True)
    starts = changed.nonzero().squeeze(1)
    ends = torch.cat((starts[1:], starts.new_full((1,), len(labels))))
    return PlaneRuns(
        starts=starts,
        ends=ends,
        planes=torch.searchsorted(firsts, starts, right=True) - 1,
        labels=labels.index_select(0, starts).long(),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WrittenRuns:
    """Encoded segments on their device; `read` reads them on the host."""

    text: Tensor
    """uint8 [at least all characters], segment after segment."""

    numbers: Tensor
    """int64 [S, 5]: where a segment's characters end, its first column and row, minus its last column and row."""


def read(text: NDArray[np.uint8], numbers: NDArray[np.int64], areas: Sequence[int]) -> list[EncodedMask]:
    """Segments from what `WrittenRuns` holds, once on the host, and how many pixels each has."""
    characters, start, found = text.tobytes(), 0, []
    for (stop, x, y, right, bottom), area in zip(numbers.tolist(), areas, strict=True):
        found.append(EncodedMask(rle=characters[start:stop], area=area, bbox=(x, y, 1 - right - x, 1 - bottom - y)))
        start = stop
    return found


def written(
    runs: PlaneRuns, segments: Tensor, *, firsts: Tensor, pixels: Tensor, heights: Tensor, longest: int
) -> WrittenRuns:
    """The run lengths of segments, without a wait for the device.

    Args:
        runs: of the planes.
        segments: int64 [M, labels]: for each plane and label the segment that it is part of, or `NONE`. A segment is
            in one plane, and each has at least one pixel.
        firsts: int64 [S], where the plane of each segment begins; at least one segment.
        pixels: int64 [S], how many pixels that plane has.
        heights: int64 [S], its height.
        longest: pixels of the largest plane.

    Source: COCO API maskApi.c, rleEncode and rleToString (column-major, 5 bits a character, runs after the third as
    differences to the run two back).
    """
    count, size = len(firsts), len(runs.starts)
    owner, start, end = _joined(runs, segments.view(-1)[runs.planes * segments.shape[1] + runs.labels], count)
    # Segment by segment, each one's runs in their order; `count` stands for nobody and comes last. Half as wide, the
    # numbers are sorted in half the time.
    sorted_owner, order = owner.int().sort(stable=True)
    owner = sorted_owner.long()
    plane = torch.cat((firsts, firsts.new_zeros(1)))[owner]
    start, end = start[order] - plane, end[order] - plane
    place = torch.arange(size, device=owner.device)
    begin = torch.searchsorted(owner, torch.arange(count + 1, device=owner.device))
    rank = place - begin[owner]
    zeros = start - torch.where(rank > 0, end.roll(1), 0)
    ones = end - start
    tail = begin[1:] - 1
    left = pixels - end[tail]
    # A segment's runs are zeros, ones, zeros, ones, ..., and last the zeros that are left, if any.
    values = zeros.new_zeros(2 * size + count)
    used = torch.zeros(2 * size + count, dtype=torch.bool, device=owner.device)
    at, last = 2 * place + owner, 2 * begin[1:] + torch.arange(count, device=owner.device)
    values[at] = zeros - torch.where(rank > 1, zeros.roll(1), 0)
    values[at + 1] = ones - torch.where(rank > 0, ones.roll(1), 0)
    values[last] = left - torch.where(rank[tail] > 0, zeros[tail], 0)
    used[at] = owner < count
    used[at + 1] = owner < count
    used[last] = left > 0
    text, stops = _characters(values, used, groups=longest.bit_length() // 5 + 1)
    return WrittenRuns(
        text=text, numbers=torch.cat((stops[last, None], _boxes(owner, start, end, tail, heights)), dim=1)
    )


def _joined(runs: PlaneRuns, owner: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbouring runs of one owner made one: owner, start and end [R], nobody's empty runs in the places left over.

    Args:
        runs: in their order.
        owner: int64 [R], the segment of each run or `NONE`.
        count: segments, and in what is returned the owner of what is nobody's.
    """
    size, total = len(owner), runs.ends[-1:]
    owner = torch.where(owner == NONE, count, owner)
    new = torch.ones(size, dtype=torch.bool, device=owner.device)
    torch.ne(owner[1:], owner[:-1], out=new[1:])
    # What isn't the first of its kind goes to one place beyond the rest, all with the same value.
    place = torch.where(new, new.cumsum(0) - 1, size)
    owners = owner.new_full((size + 1,), count).scatter_(0, place, torch.where(new, owner, count))
    starts = total.repeat(size + 1).scatter_(0, place, torch.where(new, runs.starts, total))
    return owners[:-1], starts[:-1], starts[1:]


def _boxes(owner: Tensor, start: Tensor, end: Tensor, tail: Tensor, heights: Tensor) -> Tensor:
    """First column and row, minus last column and row of each segment: int64 [S, 4].

    Args:
        owner: [R], ascending: the segment of each run, S for nobody.
        start: [R], the run's first pixel in its plane, ascending for each segment.
        end: [R], the pixel after its last.
        tail: [S], each segment's last run.
        heights: [S], of its plane.
    """
    tall = torch.cat((heights, heights.new_ones(1)))[owner]
    left, right = start // tall, (end - 1) // tall
    # A run that goes on into the next column touches the bottom of one and the top of the other.
    within = left == right
    top = torch.where(within, start - left * tall, 0)
    bottom = torch.where(within, end - 1 - right * tall, tall - 1)
    edges = torch.stack((top, -bottom), dim=1)
    rows = edges.new_zeros(len(heights) + 1, 2)
    rows.scatter_reduce_(0, owner[:, None].expand_as(edges), edges, "amin", include_self=False)
    head = torch.cat((tail.new_zeros(1), tail[:-1] + 1))
    return torch.stack((left[head], rows[:-1, 0], -right[tail], rows[:-1, 1]), dim=1)


def _characters(values: Tensor, used: Tensor, *, groups: int) -> tuple[Tensor, Tensor]:
    """The characters of signed values one after the other, and where each value's end.

    Args:
        values: int64 [V].
        used: bool [V]: the others have no character.
        groups: characters of 5 bits that hold every value and its sign.

    Returns:
        uint8 [V * groups + 1], of which the last end says how many count, and int64 [V].
    """
    # A signed value takes the fewest groups of 5 bits that hold it and its sign.
    magnitude = torch.where(values < 0, ~values, values)
    lengths = used.long()
    for group in range(1, groups):
        lengths += used & (magnitude >> (5 * group - 1) > 0)
    stops = lengths.cumsum(0)
    text = torch.zeros(len(values) * groups + 1, dtype=torch.uint8, device=values.device)
    for group in range(groups):
        there = lengths > group
        character = (values >> (5 * group) & 0x1F) + torch.where(lengths > group + 1, 48 + 0x20, 48)
        # What has no such character writes a zero to one place behind all others.
        place = torch.where(there, stops - lengths + group, len(text) - 1)
        text.scatter_(0, place, torch.where(there, character, 0).to(torch.uint8))
    return text, stops
