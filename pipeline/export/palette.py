"""A colour for each class of a vocabulary, by its id alone, so that it is the same in every picture of an export."""

import colorsys
from itertools import count

from pipeline.showing.palette import PALETTE, Colour

UNLABELED: Colour = (255, 255, 255)
"""What pixels without a label look like; no class has it."""


def class_colours(classes: int) -> list[Colour]:
    """Colours in id order, no two alike: those of `show` first, then ever new hues."""
    found = list(PALETTE[:classes])
    used = {*PALETTE, UNLABELED, (0, 0, 0)}
    for step in count():
        if len(found) >= classes:
            return found
        # Steps of the golden ratio never come back to a hue; tone changes with them, so that near hues differ in it.
        hue, tone = step * 0.6180339887498949 % 1, step // 3 % 3
        red, green, blue = colorsys.hsv_to_rgb(hue, (0.9, 0.55, 0.75)[tone], (0.85, 0.95, 0.6)[step % 3])
        colour = (round(red * 255), round(green * 255), round(blue * 255))
        if colour not in used:
            used.add(colour)
            found.append(colour)
    raise AssertionError("count never ends")
