"""A colour for each class of a vocabulary, by its id alone, so that it is the same in every picture of an export."""

import colorsys
from itertools import count

from maskmill.pipeline.showing.palette import PALETTE, Colour

UNLABELED: Colour = (255, 255, 255)
"""What pixels without a label look like; no class has it."""

APART = 256
"""So many colours are kept apart; people don't tell more of them from one another."""

_FIRST_DISTANCE, _TRIES = 100.0, 24
_GOLDEN = 0.6180339887498949


def class_colours(classes: int) -> list[Colour]:
    """Colours in id order, no two alike: those of `show` first, then each as far from those before as is left."""
    assert classes < 1 << 24, "as many colours as 24 bits hold"
    found = list(PALETTE)
    used = {*PALETTE, UNLABELED, (0, 0, 0)}
    distance, tries = _FIRST_DISTANCE, 0
    for step in count():
        if len(found) >= classes:
            return found[:classes]
        colour = _hue(step) if len(found) < APART else _spread(step)
        tries += 1
        if colour not in used and (len(found) >= APART or all(_apart(colour, other) >= distance for other in used)):
            used.add(colour)
            found.append(colour)
            tries = 0
        elif tries == _TRIES:
            distance, tries = distance * 0.9, 0
    raise AssertionError("count never ends")


def _hue(step: int) -> Colour:
    # Steps of the golden ratio never come back to a hue.
    saturation, value = ((0.9, 0.85), (0.5, 0.95), (0.8, 0.55), (0.35, 0.7))[step % 4]
    red, green, blue = colorsys.hsv_to_rgb(step * _GOLDEN % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _spread(step: int) -> Colour:
    # An odd factor takes no two steps below 2^24 to one colour.
    code = step * 0x9E3779 & 0xFFFFFF
    return code >> 16, code >> 8 & 255, code & 255


def _apart(one: Colour, other: Colour) -> float:
    return float(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5)
