"""What sliding windows cost, told before a job begins: windows an image, and work beside the whole image's."""

from dataclasses import dataclass

from maskmill.models.resize import USUAL, ResizeRule, Size, SlidingRule
from maskmill.models.san.config import SanConfig
from maskmill.models.san.work import macs
from maskmill.models.zoo import MODELS

LARGE = 10_000
"""Pixels of a unit of `USUAL` proportions: photos so large that no scale reaches their own size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowsPrice:
    """What windows cost for an image of one size."""

    windows: int
    """Windows; 1 where the image is looked at whole."""

    macs: float
    """Multiply-accumulates of all its windows."""

    whole_macs: float
    """Those of the image without windows."""

    @property
    def times(self) -> float:
        """How many times the price of the image without windows that is."""
        return self.macs / self.whole_macs


def windows_price(config: SanConfig, rule: SlidingRule, image: Size, names: int) -> WindowsPrice:
    """The price of an image.

    Args:
        config: SAN's sizes.
        rule: usual sizes and windows.
        image: its height, width before it is resized.
        names: classes asked about.
    """
    usual = ResizeRule(short_side=rule.short_side, long_side_cap=rule.long_side_cap, multiple=rule.multiple)
    whole = macs(config, usual.padded(usual.size(image)), names).whole
    grid = rule.grid(rule.size(image))
    if grid is None:
        return WindowsPrice(windows=1, macs=whole, whole_macs=whole)
    each = macs(config, usual.padded(grid.size), names).whole
    return WindowsPrice(windows=len(grid), macs=len(grid) * each, whole_macs=whole)


def price_lines(model: str, scale: float, names: int) -> list[str]:
    """Windows, work and its multiple for large photos of common shapes, a line each below a heading.

    Args:
        model: a model that takes windows.
        scale: of `--windows`.
        names: classes asked about.
    """
    spec = MODELS[model]
    rule, config = spec.rule_with(scale), spec.config
    assert isinstance(rule, SlidingRule), "a scale makes windows"
    assert isinstance(config, SanConfig), "checked to take windows"
    side, short = rule.windows.side, round(scale * spec.short_side)
    lines = [f"windows   {side} x {side}, in photos of a short side of {short:,} or more:"]
    for width, height in USUAL:
        price = windows_price(config, rule, (height * LARGE, width * LARGE), names)
        work = price.macs / 1e9
        shape = f"{width}:{height}"
        gmac = f"{work:,.{0 if work >= 100 else 1}f} GMAC"
        lines.append(f"          {shape:>4}  {price.windows:2} windows, {gmac}, {price.times:.1f}x the whole photo")
    return lines
