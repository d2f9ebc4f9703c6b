"""Sliding windows: how large they are and where they lie. What models say in them stands with the models."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from maskmill.models.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from maskmill.models.resize import Size


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowConfig:
    """Sliding windows of inference."""

    side: int
    """Side of the square windows in pixels; an image that is smaller is decoded as it is."""

    stride: int
    """Pixels from one window to the next; the last is shifted back so that it ends with the image."""

    def __str__(self) -> str:
        return f"{self.side} every {self.stride}"

    def count(self, length: int) -> int:
        """Windows beside one another along an image's side of so many pixels."""
        return max(length - self.side + self.stride - 1, 0) // self.stride + 1


def third_overlapping(side: int) -> WindowConfig:
    """Square windows each of which shares a third of its side with the next, as published sliding evaluations have."""
    return WindowConfig(side=side, stride=max(1, side * 2 // 3))


LARGEST_SCALE = 4.0
"""Scales beyond this are refused: an image of 4 x 640 pixels already has 36 windows, and a panorama 144."""


def check_scale(scale: float) -> None:
    """Refuse a scale of sliding windows that is none.

    Raises:
        UsageError: it isn't above 1, or too large.
    """
    if not 1.0 < scale <= LARGEST_SCALE:
        raise UsageError(
            f"--windows {scale:g}: expected a number above 1, up to {LARGEST_SCALE:g}: times an image's usual size. "
            "Try 2, or leave it out."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """The windows of one image: all of one size, at every pair of a row's and a column's start."""

    tops: tuple[int, ...]
    """First rows, in pixels of the resized image."""

    lefts: tuple[int, ...]
    """First columns."""

    size: "Size"
    """Height, width of each window."""

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def cut(self, image: "Tensor") -> "list[Tensor]":
        """The windows of an image [3, H, W], row by row of the grid."""
        height, width = self.size
        return [image[:, top : top + height, left : left + width] for top in self.tops for left in self.lefts]


def windows_of(size: "Size", config: WindowConfig | None) -> Windows:
    """Where the windows of an image of this height, width lie; one window, the whole image, where there are none.

    Source: MMSegmentation's sliding inference: a window every `stride` pixels, the last shifted inside.
    """
    height, width = size
    if config is None:
        return Windows(tops=(0,), lefts=(0,), size=size)
    return Windows(
        tops=_starts(height, config),
        lefts=_starts(width, config),
        size=(min(height, config.side), min(width, config.side)),
    )


def _starts(length: int, config: WindowConfig) -> tuple[int, ...]:
    return tuple(
        max(min(i * config.stride + config.side, length) - config.side, 0) for i in range(config.count(length))
    )
