"""COCO compressed run lengths of binary masks, written and read strictly. It knows nothing of segments or classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from maskmill.models.masks.runs import Runs, runs_of

MAX_GROUPS = 7
"""Characters that one run may take: seven groups of 5 bits hold every run of a mask below 2^34 pixels."""

TURNED = 64
"""Columns that are turned into rows at once: a cache line of each row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedMask:
    """A mask as bytes, with what counting it would say."""

    rle: bytes
    """COCO compressed run lengths."""

    area: int
    """Pixels of the mask."""

    bbox: tuple[int, int, int, int]
    """x, y, width, height of the bounding box in pixels; all zero for an empty mask."""


def encode(masks: Tensor) -> list[bytes]:
    """COCO compressed run lengths of binary masks.

    Args:
        masks: bool [N, H, W], any device; runs are found where the masks live and only they are copied.

    Returns:
        N byte strings that pycocotools decodes with size (H, W).

    Source: COCO API maskApi.c, rleEncode and rleToString (column-major, 5 bits a character, runs after the third as
    differences to the run two back).
    """
    lengths, counts = runs_of(masks)
    return _strings(lengths, counts)


def encode_and_measure(masks: Tensor) -> list[EncodedMask]:
    """What `encode` gives, with each mask's area and bounding box, which the runs tell at no cost to the device.

    Args:
        masks: bool [N, H, W], any device.

    Returns:
        N encoded masks.
    """
    lengths, counts = runs_of(masks)
    areas, boxes = _measures(lengths, counts, masks.shape[1])
    return [
        EncodedMask(rle=text, area=area, bbox=(x, y, width, height))
        for text, area, (x, y, width, height) in zip(
            _strings(lengths, counts), areas.tolist(), boxes.tolist(), strict=True
        )
    ]


def area_and_bbox(rle: bytes, size: tuple[int, int]) -> tuple[int, tuple[int, int, int, int]]:
    """Area and bounding box (x, y, width, height; zeros where empty) of an encoded mask, without decoding its pixels.

    Args:
        rle: COCO compressed run lengths; not trusted.
        size: height, width of the mask.

    Raises:
        ValueError: as `decode`.
    """
    areas, boxes = areas_and_bboxes([rle], size)
    x, y, width, height = boxes[0].tolist()
    return int(areas[0]), (x, y, width, height)


def areas_and_bboxes(rles: Sequence[bytes], size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`area_and_bbox` of several masks of one size, in a fraction of its time: int64 [N] and int64 [N, 4].

    Raises:
        ValueError: as `decode`, for the first mask that is wrong.
    """
    lengths = runs_of_size(rles, size)
    counts = np.array([len(runs) for runs in lengths], np.int64)
    return _measures(np.concatenate([*lengths, counts[:0]]), counts, size[0])


def decode(rle: bytes, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask that compressed run lengths stand for.

    Args:
        rle: COCO compressed run lengths; not trusted.
        size: height, width of the mask; pixels are only made once the runs are known to add up to it.

    Returns:
        bool [height, width], a view of column-major memory: a copy to row-major would take most of the time.

    Raises:
        ValueError: the bytes aren't run lengths of a mask of this size; one line says why.
    """
    lengths = _checked_runs(rle, size)
    values = np.arange(len(lengths)) % 2 == 1
    height, width = size
    return np.repeat(values, lengths).reshape(width, height).T


def decode_all(rles: Sequence[bytes], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The masks of one image, row-major: what `decode` says of each, in a fraction of its time.

    Args:
        rles: COCO compressed run lengths of N masks; not trusted.
        size: height, width of all of them.

    Returns:
        bool [N, height, width], contiguous.

    Raises:
        ValueError: as `decode`, if one of them isn't a mask of this size.
    """
    height, width = size
    found = runs_of_size(rles, size)
    masks = np.zeros((len(found), height, width), np.bool_)
    for mask, lengths in zip(masks, found, strict=True):
        through_ones = lengths[: len(lengths) // 2 * 2]
        if not len(through_ones):
            continue
        # Turning columns into rows takes most of the time, so only columns between the first and the last one.
        stop = int(through_ones.sum())
        left, right = int(lengths[0]) // height, -(-stop // height)
        within = np.append(through_ones, right * height - stop)
        within[0] -= left * height
        values = np.zeros(len(within), np.bool_)
        values[1::2] = True
        strip = np.repeat(values, within).reshape(right - left, height)
        for first in range(0, right - left, TURNED):
            block = strip[first : first + TURNED]
            mask[:, left + first : left + first + len(block)] = block.T
    return masks


def runs_of_size(rles: Sequence[bytes], size: tuple[int, int]) -> list[Runs]:
    """Run lengths of several masks of one size, as `runs`, which add up to it.

    Args:
        rles: COCO compressed run lengths; not trusted.
        size: height, width of all of them.

    Raises:
        ValueError: as `decode`, for the first mask that is wrong.
    """
    return [_of_size(lengths, size) for lengths in _parsed(rles)]


def runs(rle: bytes) -> Runs:
    """Run lengths of an encoded mask, zeros first, column by column.

    Args:
        rle: COCO compressed run lengths; not trusted.

    Returns:
        int64 [R], none negative. Whether they add up to a mask's size is for the caller, who knows it.

    Raises:
        ValueError: a character outside the alphabet, an end inside a run, a run too long or negative.
    """
    (found,) = _parsed([rle])
    return found


def _parsed(rles: Sequence[bytes]) -> list[Runs]:
    """`runs` of several masks, whose characters are read together.

    Source: COCO API maskApi.c, rleFrString.
    """
    if not rles:
        return []
    sizes = np.array([len(rle) for rle in rles])
    if not sizes.all():
        raise ValueError("run lengths: no bytes, expected at least one run")
    codes = np.frombuffer(b"".join(rles), np.uint8).astype(np.int64) - 48
    stops = np.cumsum(sizes)
    outside = (codes < 0) | (codes > 63)
    if outside.any():
        at = int(outside.argmax())
        mask = int(np.searchsorted(stops, at, side="right"))
        position = at - int(stops[mask] - sizes[mask])
        raise ValueError(f"run lengths: byte {rles[mask][position]} at position {position}, expected 48 to 111")
    last = codes & 0x20 == 0
    if not last[stops - 1].all():
        raise ValueError("run lengths: the bytes end inside a run")
    ends = np.flatnonzero(last)
    groups = np.diff(ends, prepend=-1)
    if groups.max() > MAX_GROUPS:
        raise ValueError(f"run lengths: a run of {groups.max()} characters, expected at most {MAX_GROUPS}")
    starts = ends - groups + 1
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, groups))
    values = np.add.reduceat((codes & 0x1F) << shifts, starts)
    values -= np.where(codes[ends] & 0x10, np.int64(1) << (5 * groups), 0)
    found = np.split(values, np.searchsorted(ends, stops[:-1]))
    for lengths in found:
        # Runs 3, 4, 5, ... are differences to the run two back; runs 0, 1 and 2 stand as they are.
        lengths[1::2] = np.cumsum(lengths[1::2])
        lengths[2::2] = np.cumsum(lengths[2::2])
        if lengths.min() < 0:
            raise ValueError(f"run lengths: run {int(lengths.argmin())} is negative")
    return found


def _checked_runs(rle: bytes, size: tuple[int, int]) -> Runs:
    return _of_size(runs(rle), size)


def _of_size(lengths: Runs, size: tuple[int, int]) -> Runs:
    """The runs, if they add up to a mask of this size."""
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"run lengths: size {height} x {width}, expected a mask of at least one pixel")
    total = int(lengths.sum())
    if total != height * width:
        raise ValueError(f"run lengths: runs add up to {total} pixels, expected {height} x {width} = {height * width}")
    return lengths


def _measures(lengths: Runs, counts: Runs, height: int) -> tuple[Runs, Runs]:
    """Areas int64 [N] and boxes int64 [N, 4] of masks with `counts` runs each."""
    areas, boxes = np.zeros(len(counts), np.int64), np.zeros((len(counts), 4), np.int64)
    first = np.cumsum(counts) - counts
    odd = (np.arange(len(lengths)) - np.repeat(first, counts)) & 1 == 1
    # Of the runs of ones alone, those that are empty left out.
    ones = np.flatnonzero(odd & (lengths > 0))
    each = np.diff(np.searchsorted(ones, first), append=len(ones))
    some = each > 0
    if not len(ones):
        return areas, boxes
    starts = (np.cumsum(each) - each)[some]
    ends = np.cumsum(lengths)
    before = (ends[first] - lengths[first])[some]
    long = lengths[ones]
    last = ends[ones] - np.repeat(before, each[some]) - 1
    begin = last - long + 1
    left, right = begin // height, last // height
    # A run that goes on into the next column touches the bottom of one and the top of the other.
    within = left == right
    top = np.where(within, begin - left * height, 0)
    bottom = np.where(within, last - right * height, height - 1)
    # Runs come column by column, so the first one is leftmost and the last one rightmost.
    x, x_end = left[starts], right[starts + each[some] - 1] + 1
    y, y_end = np.minimum.reduceat(top, starts), np.maximum.reduceat(bottom, starts) + 1
    areas[some] = np.add.reduceat(long, starts)
    boxes[some] = np.stack((x, y, x_end - x, y_end - y), axis=1)
    return areas, boxes


def _strings(lengths: Runs, counts: Runs) -> list[bytes]:
    """The characters of each mask's runs."""
    if not len(counts):
        return []
    first = np.cumsum(counts) - counts
    values = lengths.copy()
    values[2:] -= lengths[:-2]
    for place in range(min(3, int(counts.max()))):
        whole = first[counts > place] + place
        values[whole] = lengths[whole]
    # A signed value takes the fewest groups of 5 bits that hold it and its sign.
    groups = np.ones(len(values), np.int64)
    magnitude = values ^ (values >> 63)
    for bits in range(4, int(magnitude.max()).bit_length(), 5):
        groups += magnitude >= 1 << bits
    stops = np.cumsum(groups)
    at = stops - groups
    characters = np.empty(stops[-1], np.uint8)
    while len(at):
        more = groups > 1
        characters[at] = (values & 0x1F) + np.where(more, 48 + 0x20, 48)
        at, values, groups = at[more] + 1, values[more] >> 5, groups[more] - 1
    text, bounds = characters.tobytes(), stops[first + counts - 1].tolist()
    return [text[start:stop] for start, stop in zip([0, *bounds[:-1]], bounds, strict=True)]
