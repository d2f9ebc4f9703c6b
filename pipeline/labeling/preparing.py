"""From a sample's bytes to pixels of the model's size, by the decoder that the run has. Rows are made elsewhere."""

import numpy as np
import torch
from numpy.typing import NDArray

from maskmill.models.resampling import on_device, resized
from maskmill.models.resize import ResizeRule, Size
from maskmill.pipeline.config import LabelConfig
from maskmill.pipeline.reading.images import decode_as, image_bytes
from maskmill.pipeline.reading.samples import Sample


def prepare(
    sample: Sample, rule: ResizeRule, config: LabelConfig, device: torch.device
) -> tuple[Size, NDArray[np.uint8]]:
    """A sample's image, ready for the model.

    Args:
        sample: with or without an image.
        rule: how large the model takes it.
        config: the run's; its limits and its decoding apply.
        device: the replica's, where `nvjpeg` decodes.

    Returns:
        Height, width of the upright image as it is stored; and its pixels, resized: uint8 [h, w, 3].

    Raises:
        pipeline.reading.errors.SampleError: there is no image, or it can't be decoded.
    """
    data, decoding = image_bytes(sample), config.decoding
    if decoding.decoder == "nvjpeg" and data:
        from maskmill.pipeline.reading import nvjpeg

        pixels = nvjpeg.decode(data, config.limits, device)
        if pixels is not None:
            size = (pixels.shape[1], pixels.shape[2])
            return size, on_device(pixels, rule.size(size)).cpu().numpy()
    found = decode_as(data, config.limits, decoding, rule.size)
    return found.size, resized(found.image, rule.size(found.size), decoding.resize)
