"""What becomes of the logits of sliding windows, against the plain formula."""

import pytest
import torch
from torch.nn import functional

from maskmill.models.denseclip.windows import grid_of, side_by_side, window_bands
from maskmill.models.windows import WindowConfig
from tests.models.denseclip.plain_denseclip import described, tiny


def test_an_image_that_leaves_the_coarsest_level_without_cells_is_read_with_zeros_around_it():
    assert grid_of((10, 40), None).size == (32, 40)


@pytest.mark.parametrize(("size", "masks"), [((90, 150), (75, 125)), ((64, 64), (200, 31)), ((50, 66), (50, 66))])
def test_windows_are_enlarged_averaged_and_enlarged_again(size, masks):
    windows = grid_of(size, WindowConfig(side=64, stride=42))
    height, width = windows.size
    logits = torch.randn(
        len(windows), 5, height // 4, width // 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    total, times = torch.zeros(5, *size, dtype=torch.float64), torch.zeros(size)
    enlarged = functional.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
    starts = [(top, left) for top in windows.tops for left in windows.lefts]
    for (top, left), window in zip(starts, enlarged, strict=True):
        total[:, top : top + height, left : left + width] += window
        times[top : top + height, left : left + width] += 1
    wanted = functional.interpolate((total / times)[None], size=masks, mode="bilinear", align_corners=False)[0]
    found = torch.cat(
        [band.clone() for _, band in window_bands(side_by_side(windows, logits), windows, size, masks)], dim=1
    )
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["tinyrn", "tinyvit"])
def test_every_window_has_its_own_logits(name):
    segmenter = tiny(name, float64=True)
    texts = segmenter.encode_names(described(name)["vocab"])
    image = torch.randn(1, 3, 48, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    windows = segmenter.model.config.windows
    (bands,) = segmenter.bands_of_images(image, texts, [(48, 100)], [(48, 100)], windows)
    found = torch.cat([band.clone() for _, band in bands], dim=1)
    with torch.inference_mode():
        parts = [
            functional.interpolate(segmenter.model(part, texts).logits, size=(48, 64), mode="bilinear")[0]
            for part in (image[..., :64], image[..., 36:])
        ]
    torch.testing.assert_close(found[..., :36], parts[0][..., :36], rtol=0, atol=1e-10)
    torch.testing.assert_close(found[..., 64:], parts[1][..., 28:], rtol=0, atol=1e-10)
    torch.testing.assert_close(found[..., 36:64], (parts[0][..., 36:] + parts[1][..., :28]) / 2, rtol=0, atol=1e-10)
