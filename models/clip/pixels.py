"""Pixels as CLIP reads them: normalised by the mean and deviation of its training images, zero outside an image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from maskmill.models.resize import Size

CLIP_MEAN = (122.7709383, 116.7460125, 104.09373615)
"""Mean of red, green and blue in CLIP's training images, of 255."""

CLIP_STD = (68.5005327, 66.6321579, 70.32316305)
"""Their standard deviations."""


class Normalisation:
    """CLIP's normalisation on one device.

    Args:
        like: a weight of the model that reads the pixels: its device and type are those of what comes out.
    """

    def __init__(self, like: Tensor) -> None:
        # Through float32 also for float64: the constants are float32 numbers in the code that made the weights.
        self._mean = torch.tensor(CLIP_MEAN).to(like)[:, None, None]
        self._std = torch.tensor(CLIP_STD).to(like)[:, None, None]

    def __call__(self, pixels: Tensor, sizes: Sequence[Size] | None = None) -> Tensor:
        """Pixels uint8 [B, 3, H, W] as a model's input on its device; zero outside each image's size, where given."""
        pixels = pixels.to(self._mean.device, non_blocking=True)
        if sizes is None or all(size == pixels.shape[2:] for size in sizes):
            return self._scaled(pixels).contiguous()
        if pixels.device.type != "cpu":
            return self.within(pixels, extents(sizes, pixels.device))
        images = self._scaled(pixels)
        # On a CPU the padding alone is written, instead of every pixel a second time.
        for image, (height, width) in zip(images, sizes, strict=True):
            if height < image.shape[1]:
                image[:, height:] = 0.0
            if width < image.shape[2]:
                image[:, :, width:] = 0.0
        return images.contiguous()

    def within(self, pixels: Tensor, sizes: Tensor) -> Tensor:
        """The same in a fixed number of steps, whatever the sizes are: they are on the device, see `extents`."""
        images = self._scaled(pixels)
        rows, columns = (torch.arange(length, device=images.device) for length in images.shape[2:])
        inside = (rows < sizes[:, :1])[:, None, :, None] & (columns < sizes[:, 1:])[:, None, None, :]
        return torch.where(inside, images, 0.0).contiguous()

    def _scaled(self, pixels: Tensor) -> Tensor:
        return (pixels - self._mean).div_(self._std)


def extents(sizes: Sequence[Size], device: torch.device) -> Tensor:
    """Heights and widths as int32 [B, 2] on a device, without waiting for it."""
    told = torch.tensor(sizes, dtype=torch.int32)
    return told.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else told.to(device)
