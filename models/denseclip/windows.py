"""Sliding windows and what is made of them: where they lie, and class logits at mask size, in bands of rows.

As published, windows' logits are enlarged to the window, averaged where windows overlap, and enlarged to the masks.
Each step acts on rows and columns apart and windows form a grid, so that all of it is `rows @ logits @ columns^T` with
one small matrix for each axis over the windows' logits side by side. The whole image is the case of one window.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from models.denseclip.config import WindowConfig
from models.inference.upsample import Axis, axis_of, bands_of
from models.resize import Size

LEAST_SIDE = 32
"""Fewer pixels on a side leave the coarsest level without cells; a smaller image is read with zeros up to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """The windows of one image: all of one size, at every pair of a row's and a column's start."""

    tops: tuple[int, ...]
    """First rows, in pixels of the resized image."""

    lefts: tuple[int, ...]
    """First columns."""

    size: Size
    """Height, width of each window."""

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def cut(self, image: Tensor) -> list[Tensor]:
        """The windows of an image [3, H, W], row by row of the grid."""
        height, width = self.size
        return [image[:, top : top + height, left : left + width] for top in self.tops for left in self.lefts]

    def side_by_side(self, logits: Tensor) -> Tensor:
        """Logits of all windows, [windows, N, h, w] in the order of `cut`, as [N, rows of windows x h, columns x w]."""
        grid = torch.unflatten(logits, 0, (len(self.tops), len(self.lefts)))
        return grid.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)


def windows_of(size: Size, config: WindowConfig | None) -> Windows:
    """Where the windows of an image of this height, width lie.

    Source: MMSegmentation's sliding inference: a window every `stride` pixels, the last shifted inside.
    """
    height, width = (max(side, LEAST_SIDE) for side in size)
    if config is None:
        return Windows(tops=(0,), lefts=(0,), size=(height, width))
    return Windows(
        tops=_starts(height, config),
        lefts=_starts(width, config),
        size=(min(height, config.side), min(width, config.side)),
    )


def _starts(length: int, config: WindowConfig) -> tuple[int, ...]:
    count = max(length - config.side + config.stride - 1, 0) // config.stride + 1
    return tuple(max(min(i * config.stride + config.side, length) - config.side, 0) for i in range(count))


def window_bands(logits: Tensor, windows: Windows, size: Size, mask_size: Size) -> Iterator[tuple[slice, Tensor]]:
    """Class logits at mask size, some rows at a time.

    Args:
        logits: `Windows.side_by_side`, [N, rows, columns], float32 or float64.
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
