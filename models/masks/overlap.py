"""How far encoded masks overlap, told from their runs: no pixel is decoded. Which masks to compare is the caller's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.masks.rle import runs_of_size
from models.masks.runs import Runs


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pieces:
    """A mask as stretches of its ones, read column by column; two may touch, none overlap."""

    starts: Runs
    """First position of each stretch, int64 [P], ascending."""

    stops: Runs
    """The position after its last, int64 [P]."""

    area: int
    """Pixels of the mask."""

    def below(self, positions: Runs) -> Runs:
        """How many of the mask's pixels lie before each position, int64."""
        held = np.concatenate(([0], np.cumsum(self.stops - self.starts)))
        begun = np.searchsorted(self.starts, positions, side="right")
        # Of the stretch begun last, the part that lies behind the position doesn't count.
        behind = np.append(0, self.stops)[begun] - positions
        found: Runs = held[begun] - np.maximum(behind, 0)
        return found


def pieces(rles: Sequence[bytes], size: tuple[int, int]) -> list[Pieces]:
    """The stretches of masks of one size.

    Args:
        rles: COCO compressed run lengths; not trusted.
        size: height, width of the masks.

    Raises:
        ValueError: as `rle.decode`, for the first mask that is wrong.
    """
    found = []
    for lengths in runs_of_size(rles, size):
        ends = np.cumsum(lengths)
        # A mask that ends in zeros has a run of them last.
        starts, stops = ends[:-1:2], ends[1::2]
        found.append(Pieces(starts=starts, stops=stops, area=int((stops - starts).sum())))
    return found


def mirrored(mask: Pieces, size: tuple[int, int]) -> Pieces:
    """The mask left-right turned.

    Args:
        mask: of this size.
        size: its height, width.
    """
    height, width = size
    # Columns change places, so no stretch may go on from one into the next.
    filled = mask.stops > mask.starts
    starts, stops = mask.starts[filled], mask.stops[filled]
    first = starts // height
    columns = (stops - 1) // height - first + 1
    of = np.repeat(np.arange(len(starts)), columns)
    column = first[of] + np.arange(len(of)) - np.repeat(np.cumsum(columns) - columns, columns)
    top = np.maximum(starts[of], column * height)
    bottom = np.minimum(stops[of], (column + 1) * height)
    moved = (width - 1 - 2 * column) * height
    order = np.argsort(top + moved)
    return Pieces(starts=(top + moved)[order], stops=(bottom + moved)[order], area=mask.area)


def best_ious(masks: Sequence[Pieces], others: Sequence[Pieces]) -> NDArray[np.float64]:
    """For each mask the highest IoU with any of the others, float64 [N]; 0 where there is no other.

    Takes stretches of all masks x log(stretches of one other), for each of the others.

    Args:
        masks: N masks.
        others: of the same size.
    """
    best = np.zeros(len(masks))
    if not len(masks):
        return best
    starts = np.concatenate([mask.starts for mask in masks])
    stops = np.concatenate([mask.stops for mask in masks])
    owners = np.repeat(np.arange(len(masks)), [len(mask.starts) for mask in masks])
    areas = np.array([mask.area for mask in masks])
    for other in others:
        shared = np.bincount(owners, other.below(stops) - other.below(starts), minlength=len(masks))
        whole = areas + other.area - shared
        best = np.maximum(best, np.divide(shared, whole, out=np.zeros(len(masks)), where=whole > 0))
    return best
