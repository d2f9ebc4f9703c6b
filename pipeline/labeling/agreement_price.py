"""What agreement costs, told before a job begins: how often each image goes through the model."""

from collections.abc import Sequence

from maskmill.models.agreement.views import SCALE, View


def price_lines(views: Sequence[View]) -> list[str]:
    """Passes and work for these views; one at least."""
    told = {"flip": "mirrored", "scale": f"at {SCALE} of its size"}
    # A view's work goes with its pixels; attention, which grows faster, is the smaller part.
    work = 1 + sum(SCALE**2 if view == "scale" else 1.0 for view in views)
    return [
        f"agreement {1 + len(views)} passes an image: as it is, {', '.join(told[view] for view in views)}",
        f"          about {work:.1f} times the work; `maskmill bench --agreement` measures it",
    ]
