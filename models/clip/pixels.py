"""Pixels as CLIP reads them: normalised by the mean and deviation of its training images, zero outside an image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.resize import Size

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
        images = (pixels.to(self._mean.device, non_blocking=True) - self._mean).div_(self._std)
        if sizes is not None:
            for image, (height, width) in zip(images, sizes, strict=True):
                if height < image.shape[1]:
                    image[:, height:] = 0.0
                if width < image.shape[2]:
                    image[:, :, width:] = 0.0
        return images.contiguous()
