"""Sliding windows against the plain formula: where they lie, and what becomes of their logits."""

import pytest
import torch
from torch.nn import functional

from models.denseclip.config import WindowConfig
from models.denseclip.windows import window_bands, windows_of
from tests.models.denseclip.plain_denseclip import described, tiny


@pytest.mark.parametrize(
    ("size", "config", "tops", "lefts", "window"),
    [
        ((512, 512), WindowConfig(side=512, stride=341), (0,), (0,), (512, 512)),
        ((512, 683), WindowConfig(side=512, stride=341), (0,), (0, 171), (512, 512)),
        ((640, 853), WindowConfig(side=640, stride=426), (0,), (0, 213), (640, 640)),
        ((512, 2048), WindowConfig(side=512, stride=341), (0,), (0, 341, 682, 1023, 1364, 1536), (512, 512)),
        ((48, 100), WindowConfig(side=64, stride=42), (0,), (0, 36), (48, 64)),
        ((90, 150), None, (0,), (0,), (90, 150)),
        ((10, 40), None, (0,), (0,), (32, 40)),
    ],
)
def test_the_last_window_ends_with_the_image(size, config, tops, lefts, window):
    found = windows_of(size, config)
    assert (found.tops, found.lefts, found.size) == (tops, lefts, window)


@pytest.mark.parametrize(("size", "masks"), [((90, 150), (75, 125)), ((64, 64), (200, 31)), ((50, 66), (50, 66))])
def test_windows_are_enlarged_averaged_and_enlarged_again(size, masks):
    windows = windows_of(size, WindowConfig(side=64, stride=42))
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
        [band.clone() for _, band in window_bands(windows.side_by_side(logits), windows, size, masks)], dim=1
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
