"""What agreement costs, told before a job begins: how often each image goes through the model."""

from collections.abc import Sequence

from maskmill.models.agreement.views import SCALE, View


def price_line(views: Sequence[View]) -> str:
    """One line for these views; one at least."""
    told = {"flip": "mirrored", "scale": f"at {SCALE} of its size"}
    # A view's work goes with its pixels; attention, which grows faster, is the smaller part.
    work = 1 + sum(SCALE**2 if view == "scale" else 1.0 for view in views)
    return (
        f"agreement each image goes through the model {1 + len(views)} times: as it is, "
        f"{', '.join(told[view] for view in views)}; about {work:.1f} times the work. `maskmill bench --agreement` "
        "measures it"
    )
