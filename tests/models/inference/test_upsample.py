"""Bands of composed matrices against the published order, two calls of torch's interpolate."""

import pytest
import torch
from torch.nn import functional

from maskmill.models.inference import upsample as module
from maskmill.models.inference.upsample import Geometry, bands, upsample

CASES = {
    "square": ((40, 40), Geometry(padded=(640, 640), size=(640, 640), mask_size=(640, 640))),
    "larger masks": ((40, 54), Geometry(padded=(640, 864), size=(640, 853), mask_size=(768, 1024))),
    "smaller masks": ((40, 54), Geometry(padded=(640, 864), size=(640, 853), mask_size=(90, 120))),
    "padding below and beside": ((6, 10), Geometry(padded=(96, 160), size=(67, 131), mask_size=(50, 99))),
    "one pixel": ((2, 2), Geometry(padded=(32, 32), size=(1, 1), mask_size=(1, 1))),
    "one column": ((160, 2), Geometry(padded=(2560, 32), size=(2560, 3), mask_size=(1024, 1))),
    "one row": ((2, 160), Geometry(padded=(32, 2560), size=(1, 2560), mask_size=(1, 1024))),
    "a stride that doesn't divide": ((7, 5), Geometry(padded=(96, 64), size=(90, 63), mask_size=(33, 44))),
    "one cell": ((1, 1), Geometry(padded=(32, 32), size=(20, 30), mask_size=(9, 8))),
}


def published(logits: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    full = functional.interpolate(logits[None], size=geometry.padded, mode="bilinear", align_corners=False)
    cropped = full[..., : geometry.size[0], : geometry.size[1]]
    return functional.interpolate(cropped, size=geometry.mask_size, mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_the_composed_map_equals_the_published_order(case: str, dtype: torch.dtype, tolerance: float) -> None:
    cells, geometry = CASES[case]
    logits = torch.randn(3, *cells, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype) * 10
    ours, plain = upsample(logits, geometry), published(logits, geometry)
    assert ours.dtype == dtype
    assert (ours - plain).abs().max() <= tolerance * plain.abs().max().clamp_min(1)


@pytest.mark.parametrize("elements", [1, 500, 5_000, 1 << 30])
def test_bands_of_any_height_cover_the_mask_once_with_the_same_numbers(
    elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, geometry = CASES["padding below and beside"]
    logits = torch.randn(4, *cells, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    plain = published(logits, geometry)
    monkeypatch.setattr(module, "CPU_BAND_ELEMENTS", elements)
    covered = []
    for rows, band in bands(logits, geometry):
        covered += range(rows.start, rows.stop)
        torch.testing.assert_close(band, plain[:, rows], rtol=0, atol=1e-13)
    assert covered == list(range(50))


def test_no_queries_give_an_empty_volume() -> None:
    cells, geometry = CASES["one cell"]
    assert upsample(torch.zeros(0, *cells), geometry).shape == (0, 9, 8)


def test_maps_made_in_inference_mode_serve_gradients_afterwards() -> None:
    geometry = Geometry(padded=(32, 64), size=(31, 61), mask_size=(17, 19))
    logits = torch.randn(2, 2, 4)
    with torch.inference_mode():
        upsample(logits, geometry)
    logits.requires_grad_()
    sum(band.sum() for _, band in bands(logits, geometry)).backward()
    # Every pixel's weights add up to 1, so the gradients of a query's cells add up to its pixels.
    torch.testing.assert_close(logits.grad.sum((1, 2)), torch.full((2,), 17.0 * 19.0))
