"""Finds the runs of binary masks, read column by column. How runs are written is `rle`'s."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Runs = NDArray[np.int64]
"""Lengths of the runs of a mask read column by column; the first counts zeros and may be 0."""

MAX_BATCH_PIXELS = 1 << 30
"""Pixels whose boundaries are sought at once on a device. `torch.nonzero` on CUDA takes fewer than 2^31 elements."""


def runs_of(masks: Tensor) -> tuple[Runs, Runs]:
    """Runs of binary masks.

    Args:
        masks: bool [N, H, W], any device; boundaries are found where the masks live and only they are copied.

    Returns:
        int64 [R], runs of all masks, one mask after the other; and int64 [N], how many runs each has.
    """
    assert masks.dtype == torch.bool, f"masks are bool, not {masks.dtype}"
    count, height, width = masks.shape
    assert height * width > 0, "a mask has pixels"
    if not count:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return _in_memory(masks.contiguous().numpy()) if masks.device.type == "cpu" else _on_device(masks)


# --- in memory -------------------------------------------------------------------------------------------------------


def _in_memory(masks: NDArray[np.bool_]) -> tuple[Runs, Runs]:
    """Mask by mask, so that what is found of one is still in the cache when it is read."""
    pixels = masks.shape[1] * masks.shape[2]
    changed = np.zeros(-(-pixels // 8) * 8, np.bool_)
    ends = [_changes(mask, changed) for mask in masks]
    counts = np.array([len(found) + 1 for found in ends], np.int64)
    first = np.cumsum(counts) - counts
    stops = np.full(int(counts.sum()), pixels, np.int64)
    for start, found in zip(first.tolist(), ends, strict=True):
        stops[start : start + len(found)] = found
    lengths = np.diff(stops, prepend=0)
    # What precedes a mask's first run is the end of the mask before it.
    lengths[first[1:]] += pixels
    return lengths, counts


def _changes(mask: NDArray[np.bool_], changed: NDArray[np.bool_]) -> NDArray[np.signedinteger]:
    """Column-major positions of the pixels of a mask that differ from the one before them, ascending.

    Before a column's first pixel comes the last one of the column to its left, before the mask's first pixel a zero.

    Args:
        mask: bool [H, W], contiguous.
        changed: as many bytes as the mask has pixels, and zeros up to a multiple of 8; written over.
    """
    height, width = mask.shape
    flat = mask.reshape(-1)
    np.not_equal(flat[width:], flat[:-width], out=changed[width : len(flat)])
    changed[0] = flat[0]
    np.not_equal(mask[0, 1:], mask[-1, :-1], out=changed[1:width])
    # Boundaries are rare: eight pixels are passed over at a time.
    words = changed.view(np.int64)
    some = np.flatnonzero(words != 0)
    byte = np.flatnonzero(words[some].view(np.bool_))
    # Four bytes a number, where they hold it, are sorted in half the time.
    place: NDArray[np.signedinteger] = some[byte >> 3] * 8 + (byte & 7)
    place = place.astype(np.int32 if len(flat) < 2**31 else np.int64)
    row = place // width
    place -= row * width
    place *= height
    place += row
    place.sort()
    return place


# --- on a device -----------------------------------------------------------------------------------------------------


def _on_device(masks: Tensor) -> tuple[Runs, Runs]:
    """All masks at once, which a GPU needs to be busy."""
    count, height, width = masks.shape
    pixels = height * width
    at_once = max(1, MAX_BATCH_PIXELS // pixels)
    found = [
        _boundaries(masks[start : start + at_once].contiguous()) + start * pixels for start in range(0, count, at_once)
    ]
    # Where a mask ends the next begins, so that one sorted list of ends holds the runs of all of them.
    lasts = torch.arange(1, count + 1, device=masks.device) * pixels
    ends = torch.cat((*found, lasts)).sort().values
    stops = torch.searchsorted(ends, lasts).cpu().numpy() + 1
    return np.diff(ends.cpu().numpy(), prepend=0), np.diff(stops, prepend=0)


def _boundaries(masks: Tensor) -> Tensor:
    """What `_changes` finds, over all masks, in no order."""
    count, height, width = masks.shape
    flat = masks.flatten()
    changed = torch.zeros(-(-len(flat) // 8) * 8, dtype=torch.bool, device=masks.device)
    torch.ne(flat[width:], flat[:-width], out=changed[width : len(flat)])
    top = changed[: len(flat)].view(count, height, width)[:, 0]
    top[:, 0] = masks[:, 0, 0]
    top[:, 1:] = masks[:, 0, 1:] != masks[:, -1, :-1]
    words = changed.view(torch.int64).nonzero().squeeze(1)
    word, byte = changed.view(-1, 8)[words].nonzero(as_tuple=True)
    place = words[word] * 8 + byte
    row = place // width
    index = row // height
    return (index * width + place - row * width) * height + row - index * height
