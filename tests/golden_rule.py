"""The images of the goldens, which follow from a height, a width and a seed. Their weights: models.san.untrained."""

import math

import numpy as np
from numpy.typing import NDArray

from maskmill.models.san.untrained import noise

WAVES = 6
"""Plane waves in each channel; each has an amplitude, two frequencies and a phase."""


def image(height: int, width: int, seed: int, period: float = 640.0) -> NDArray[np.uint8]:
    """uint8 [height, width, 3]: six seeded waves a channel around grey 118, and noise of up to 20 levels.

    Waves are as long as `period` pixels over their frequency, which is below 8.
    """
    rows = np.arange(height, dtype=np.float64)[:, None] / period
    columns = np.arange(width, dtype=np.float64)[None, :] / period
    channels = []
    for channel in range(3):
        drawn = noise(f"image/{seed}/{channel}", WAVES * 4).reshape(WAVES, 4) / math.sqrt(3.0)
        total = np.zeros((height, width))
        for amplitude, across, down, phase in drawn:
            angle = 2.0 * math.pi * (8.0 * across * columns + 8.0 * down * rows + phase)
            total += (0.4 + 0.6 * abs(amplitude)) * np.sin(angle)
        channels.append(118.0 + 30.0 * total)
    grain = noise(f"image/{seed}/noise/{height}x{width}", height * width * 3).reshape(height, width, 3)
    grey = np.stack(channels, axis=-1) + 20.0 * (grain / math.sqrt(3.0))
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)
