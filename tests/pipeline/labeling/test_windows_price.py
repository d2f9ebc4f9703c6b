"""What windows cost, against counts made by hand."""

import pytest

from maskmill.models.san.config import SAN_VIT_B16
from maskmill.models.san.work import macs
from maskmill.models.zoo import MODELS
from maskmill.pipeline.config import InferenceConfig, LabelConfig, ModelConfig
from maskmill.pipeline.labeling.windows_price import price_lines, windows_price
from maskmill.pipeline.shards import planning


@pytest.mark.parametrize(
    ("image", "windows", "whole"),
    [
        ((3000, 4000), 12, (640, 864)),  # resized to 1280 x 1707: 3 windows down, 4 across
        ((960, 1280), 6, (640, 864)),
        ((480, 640), 1, (640, 864)),
    ],
)
def test_an_images_price_is_its_windows_beside_its_usual_size(image, windows, whole):
    rule = MODELS["san-vit-b16"].rule_with(2.0)
    price = windows_price(SAN_VIT_B16, rule, image, 171)
    one = macs(SAN_VIT_B16, (640, 640), 171).whole
    assert price.windows == windows
    assert price.whole_macs == macs(SAN_VIT_B16, whole, 171).whole
    assert price.macs == (price.whole_macs if windows == 1 else windows * one)
    assert price.times == price.macs / price.whole_macs


def test_the_price_fits_a_terminal_and_there_is_none_without_windows():
    """63 GMAC a window (the contract's table: 28.0 + 23.4 + 11.8, and 0.05 for 171 names)."""
    lines = price_lines("san-vit-b16", 2.0, 171)
    assert lines[:2] == [
        "windows   640 x 640, in photos of a short side of 1,280 or more:",
        "           1:1   9 windows, 569 GMAC, 9.0x the whole photo",
    ]
    assert lines[2].startswith("           4:3  12 windows, 759 GMAC, ")
    assert max(map(len, lines)) <= 80
    tiny = ModelConfig(model="san-tiny")
    assert planning.price_lines(LabelConfig(model=tiny), 48) == []
    windowed = LabelConfig(model=tiny, inference=InferenceConfig(inference="semantic", windows=1.5))
    heading, square, *_ = planning.price_lines(windowed, 48)
    assert heading == "windows   128 x 128, in photos of a short side of 192 or more:"
    assert square.startswith("           1:1   4 windows, ")
