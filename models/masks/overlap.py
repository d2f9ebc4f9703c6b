"""How far encoded masks overlap, told from their runs: no pixel is decoded. Which masks to compare is the caller's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmill.models.masks.rle import runs_of_size
from maskmill.models.masks.runs import Runs

STRETCHES = 1 << 18
"""Stretches that are looked up at once: 2 MB for each of a few arrays."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stretches:
    """N masks of one size as the stretches of their ones, read column by column, mask after mask.

    Positions count on from mask to mask: pixel p of mask i is position i x height x width + p. No two overlap.
    """

    starts: Runs
    """First position of each, int64 [S], ascending."""

    stops: Runs
    """The position after its last, int64 [S]."""

    counts: Runs
    """How many each mask has, int64 [N]."""

    size: tuple[int, int]
    """Height, width of the masks."""

    @property
    def areas(self) -> Runs:
        """Pixels of each mask, int64 [N]."""
        held = np.append(0, np.cumsum(self.stops - self.starts))
        ends = np.cumsum(self.counts)
        areas: Runs = held[ends] - held[ends - self.counts]
        return areas


def stretches(rles: Sequence[bytes], size: tuple[int, int]) -> Stretches:
    """The stretches of masks of one size.

    Args:
        rles: COCO compressed run lengths; not trusted.
        size: height, width of the masks.

    Raises:
        ValueError: as `rle.decode`, for the first mask that is wrong.
    """
    found = runs_of_size(rles, size)
    nothing = np.zeros(0, np.int64)
    # Each mask's runs add up to its pixels, so that the sums count on by themselves.
    lengths = np.concatenate([*found, nothing])
    ends = np.cumsum(lengths)
    ones = np.concatenate([*(np.arange(len(runs)) % 2 == 1 for runs in found), nothing]).astype(np.bool_)
    ones &= lengths > 0
    stops, starts = ends[ones], (ends - lengths)[ones]
    return Stretches(starts=starts, stops=stops, counts=_counted(starts, len(found), size), size=size)


def mirrored(masks: Stretches) -> Stretches:
    """Each mask left-right turned."""
    height, width = masks.size
    # Columns change places, so no stretch may go on from one into the next.
    first = masks.starts // height
    columns = (masks.stops - 1) // height - first + 1
    of = np.repeat(np.arange(len(first)), columns)
    column = first[of] + np.arange(len(of)) - np.repeat(np.cumsum(columns) - columns, columns)
    moved = (width - 1 - 2 * (column % width)) * height
    starts = np.maximum(masks.starts[of], column * height) + moved
    stops = np.minimum(masks.stops[of], (column + 1) * height) + moved
    order = np.argsort(starts, kind="stable")
    starts, stops = starts[order], stops[order]
    return Stretches(
        starts=starts, stops=stops, counts=_counted(starts, len(masks.counts), masks.size), size=masks.size
    )


def ious(masks: Stretches, others: Stretches, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """IoU of pairs of masks, float64 [P]; 0 where both are empty.

    Takes the stretches of the first of each pair x log(stretches of all others).

    Args:
        masks: N masks.
        others: M masks of the same size.
        pairs: int64 [P, 2], places in both.
    """
    assert masks.size == others.size, "masks of one size"
    shared = np.zeros(len(pairs), np.int64)
    reached = np.cumsum(masks.counts[pairs[:, 0]])
    start = 0
    while start < len(pairs):
        done = reached[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(reached, done + STRETCHES, side="right")))
        shared[start:stop] = _shared(masks, others, pairs[start:stop])
        start = stop
    whole = masks.areas[pairs[:, 0]] + others.areas[pairs[:, 1]] - shared
    found: NDArray[np.float64] = np.divide(shared, whole, out=np.zeros(len(pairs)), where=whole > 0)
    return found


def _shared(masks: Stretches, others: Stretches, pairs: NDArray[np.int64]) -> Runs:
    """Pixels that the masks of each pair share, int64 [P]."""
    own, other = pairs.T
    counts = masks.counts[own]
    ends = np.cumsum(counts)
    begins = (np.cumsum(masks.counts) - masks.counts)[own]
    of = np.repeat(begins - (ends - counts), counts) + np.arange(ends[-1])
    pixels = masks.size[0] * masks.size[1]
    moved = np.repeat((other - own) * pixels, counts)
    held = np.append(0, np.cumsum(others.stops - others.starts))
    last = np.append(0, others.stops)

    def below(positions: Runs) -> Runs:
        """How many pixels of all the others lie before each position."""
        begun = np.searchsorted(others.starts, positions, side="right")
        # Of the stretch begun last, the part that lies behind the position doesn't count.
        found: Runs = held[begun] - np.maximum(last[begun] - positions, 0)
        return found

    sums = np.append(0, np.cumsum(below(masks.stops[of] + moved) - below(masks.starts[of] + moved)))
    shared: Runs = sums[ends] - sums[ends - counts]
    return shared


def _counted(starts: Runs, masks: int, size: tuple[int, int]) -> Runs:
    """How many stretches each mask has, by where they start."""
    return np.bincount(starts // (size[0] * size[1]), minlength=masks)
