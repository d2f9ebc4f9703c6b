"""CLIP's normalisation: the same numbers whether padding is written image by image or masked on the device."""

import pytest
import torch

from maskmill.models.clip.pixels import CLIP_MEAN, CLIP_STD, Normalisation, extents

SIZES = [(32, 48), (1, 1), (32, 20), (7, 48)]


def pixels() -> torch.Tensor:
    drawn = torch.randint(0, 256, (len(SIZES), 32, 48, 3), generator=torch.Generator().manual_seed(1))
    return drawn.to(torch.uint8).permute(0, 3, 1, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masked_padding_equals_written_padding_to_the_bit(dtype):
    normalisation = Normalisation(torch.empty(0, dtype=dtype))
    written = normalisation(pixels(), SIZES)
    masked = normalisation.within(pixels(), extents(SIZES, torch.device("cpu")))
    assert torch.equal(written, masked)
    assert written.stride() == masked.stride()
    assert masked.dtype == dtype


def test_pixels_are_normalised_and_padding_is_zero():
    images = Normalisation(torch.empty(0, dtype=torch.float64))(pixels(), SIZES)
    mean, std = (torch.tensor(values, dtype=torch.float32).double()[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    for image, raw, (height, width) in zip(images, pixels(), SIZES, strict=True):
        expected = torch.zeros_like(image)
        expected[:, :height, :width] = ((raw.double() - mean) / std)[:, :height, :width]
        torch.testing.assert_close(image, expected, rtol=1e-12, atol=1e-12)
