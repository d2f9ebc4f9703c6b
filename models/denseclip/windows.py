"""What DenseCLIP says in sliding windows, as class logits at mask size in bands of rows; it finds no segment.

As published, windows' logits are enlarged to the window, averaged where windows overlap, and enlarged to the masks.
Each step acts on rows and columns apart and windows form a grid, so that all of it is `rows @ logits @ columns^T` with
one small matrix for each axis over the windows' logits side by side. The whole image is the case of one window.
"""

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models.inference.upsample import Axis, axis_of, bands_of
from maskmill.models.resize import Size
from maskmill.models.windows import WindowConfig, Windows, windows_of

LEAST_SIDE = 32
"""Fewer pixels on a side leave the coarsest level without cells; a smaller image is read with zeros up to it."""


def grid_of(size: Size, config: WindowConfig | None) -> Windows:
    """Where the windows of an image of this height, width lie."""
    height, width = (max(side, LEAST_SIDE) for side in size)
    return windows_of((height, width), config)


def side_by_side(windows: Windows, logits: Tensor) -> Tensor:
    """Logits of all windows, [windows, N, h, w] in the order of `Windows.cut`, as [N, rows x h, columns x w]."""
    grid = torch.unflatten(logits, 0, (len(windows.tops), len(windows.lefts)))
    return grid.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)


def window_bands(logits: Tensor, windows: Windows, size: Size, mask_size: Size) -> Iterator[tuple[slice, Tensor]]:
    """Class logits at mask size, some rows at a time.

    Args:
        logits: `side_by_side`, [N, rows, columns], float32 or float64.
        windows: where they lie.
        size: height, width of the resized image.
        mask_size: height, width of the masks.

    Yields:
        The band's rows as a slice of the mask height, and its logits [N, rows, mask width]: the caller's to overwrite.
    """
    tall = (windows.size[0], logits.shape[1], size[0], mask_size[0])
    across = (windows.size[1], logits.shape[2], size[1], mask_size[1])
    rows = _axis(windows.tops, tall, logits.dtype, logits.device)
    columns = _axis(windows.lefts, across, logits.dtype, logits.device)
    return bands_of(logits, rows, columns)


@lru_cache(maxsize=64)
def _axis(starts: tuple[int, ...], sizes: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> Axis:
    """The map of one axis between its sizes: of a window, of all windows' cells, of the image, of the mask."""
    window, cells, length, out = sizes
    each = cells // len(starts)
    # Kept beyond this call, so it must not be a tensor of inference mode even when this call is in it.
    with torch.inference_mode(False), torch.no_grad():
        units = torch.eye(each, dtype=torch.float64)[None]
        enlarged = functional.interpolate(units, size=window, mode="linear", align_corners=False)[0]
        covered = max(starts) + window
        placed = torch.zeros(cells, covered, dtype=torch.float64)
        times = torch.zeros(covered, dtype=torch.float64)
        for i, start in enumerate(starts):
            placed[i * each : (i + 1) * each, start : start + window] = enlarged
            times[start : start + window] += 1
        averaged = (placed / times)[None, :, :length]
        weights = functional.interpolate(averaged, size=out, mode="linear", align_corners=False)[0].T
        return axis_of(weights, dtype, device)
