"""Colours for classes: well apart, and the same for a class from picture to picture where no other took its place."""

from collections.abc import Iterable

Colour = tuple[int, int, int]
"""8-bit RGB."""

FIRST: tuple[Colour, ...] = (
    (230, 25, 75),
    (0, 130, 200),
    (60, 180, 75),
    (245, 130, 48),
    (145, 30, 180),
    (255, 214, 0),
    (0, 200, 200),
    (240, 50, 230),
    (0, 0, 150),
    (170, 235, 50),
    (120, 70, 20),
    (255, 175, 200),
)
"""Twelve colours that nobody takes for one another, in tints too."""

PALETTE: tuple[Colour, ...] = (
    *FIRST,
    (128, 128, 0),
    (120, 170, 255),
    (0, 100, 80),
    (255, 190, 130),
    (120, 0, 50),
    (190, 160, 255),
    (90, 90, 90),
    (160, 255, 190),
)
"""All colours; those after the first twelve serve pictures of more classes."""


def colours(vocab_ids: Iterable[int]) -> dict[int, Colour]:
    """A colour for each class of one picture.

    A class takes the colour of the first twelve that its id gives, or the next free one of them, or one of the others;
    colours repeat once all are taken.

    Args:
        vocab_ids: classes in the order in which they may choose; repeats are fine.
    """
    chosen: dict[int, Colour] = {}
    first, more = set(range(len(FIRST))), list(range(len(FIRST), len(PALETTE)))
    for vocab_id in vocab_ids:
        if vocab_id in chosen:
            continue
        if not first and not more:
            first, more = set(range(len(FIRST))), list(range(len(FIRST), len(PALETTE)))
        # Neighbouring ids are often kin (red disc, red ring): 7 steps take them to colours that differ.
        wanted = vocab_id * 7 % len(FIRST)
        place = min(first, key=lambda slot: (slot - wanted) % len(FIRST)) if first else more.pop(0)
        first.discard(place)
        chosen[vocab_id] = PALETTE[place]
    return chosen
