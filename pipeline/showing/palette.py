"""Colours for classes: well apart, and the same for a class from picture to picture where no other took its place."""

from collections.abc import Iterable

Colour = tuple[int, int, int]
"""8-bit RGB."""

PALETTE: tuple[Colour, ...] = (
    (230, 25, 75),
    (0, 130, 200),
    (60, 180, 75),
    (245, 130, 48),
    (145, 30, 180),
    (255, 214, 0),
    (0, 190, 190),
    (240, 50, 230),
    (128, 128, 0),
    (0, 0, 160),
    (170, 110, 40),
    (150, 220, 40),
    (250, 150, 180),
    (0, 110, 90),
    (120, 0, 50),
    (120, 170, 255),
    (255, 190, 130),
    (90, 90, 90),
    (190, 160, 255),
    (70, 60, 30),
)
"""Twenty colours that stay apart on photographs; the first twelve differ most."""


def colours(vocab_ids: Iterable[int]) -> dict[int, Colour]:
    """A colour for each class of one picture.

    A class takes the palette's colour that its id gives, or the next free one; colours repeat once all are taken.

    Args:
        vocab_ids: classes in the order in which they may choose; repeats are fine.
    """
    chosen: dict[int, Colour] = {}
    free = set(range(len(PALETTE)))
    for vocab_id in vocab_ids:
        if vocab_id in chosen:
            continue
        # Neighbouring ids are often kin (red disc, red ring): 7 steps take them to colours that differ.
        wanted = vocab_id * 7 % len(PALETTE)
        free = free or set(range(len(PALETTE)))
        place = min(free, key=lambda slot: (slot - wanted) % len(PALETTE))
        free.discard(place)
        chosen[vocab_id] = PALETTE[place]
    return chosen
