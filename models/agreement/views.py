"""Which other views of an image its labels can be held against. Their names alone: what a view is, batches.py makes."""

from collections.abc import Sequence
from typing import Literal, get_args

from maskmill.models.errors import UsageError

View = Literal["flip", "scale"]
"""flip: mirrored left-right; scale: resized by `SCALE`."""

VIEWS: tuple[View, ...] = get_args(View)
"""All of them, in the order in which they are made."""

SCALE = 0.75
"""Factor of the view `scale`, for both sides. Of the factors of published multi-scale testing (0.5, 0.75, 1.25, 1.5,
1.75: DeepLab, MMSegmentation) the nearest to 1 among those that cost less than the image itself."""


def views_of(text: str | None) -> tuple[View, ...]:
    """The views that an option names, comma between them, in the order of `VIEWS`; none for None.

    Raises:
        UsageError: a name that is no view, or none at all.
    """
    if text is None:
        return ()
    named = [name.strip() for name in text.split(",")]
    if not all(name in VIEWS for name in named):
        raise UsageError(f"--agreement {text!r}: expected flip, scale or flip,scale.")
    return tuple(view for view in VIEWS if view in named)


def stated(views: Sequence[View]) -> list[str]:
    """Views as a run's identity names them, with what may change of them."""
    return [f"scale {SCALE}" if view == "scale" else view for view in views]
