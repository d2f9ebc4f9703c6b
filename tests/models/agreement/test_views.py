"""Names of views: which are taken, in which order, and what a run records of them."""

import pytest

from maskmill.models.agreement.views import SCALE, stated, views_of
from maskmill.models.errors import UsageError


@pytest.mark.parametrize(
    ("text", "views"),
    [
        (None, ()),
        ("flip", ("flip",)),
        ("scale", ("scale",)),
        ("flip,scale", ("flip", "scale")),
        ("scale, flip", ("flip", "scale")),
        ("flip,flip", ("flip",)),
    ],
)
def test_views_are_named_with_a_comma_between_them(text, views):
    assert views_of(text) == views


@pytest.mark.parametrize("text", ["", "none", "flip,", "flip scale", "Flip", "flip,rotate"])
def test_what_is_no_view_is_refused_in_one_line(text):
    with pytest.raises(UsageError, match=r"^--agreement '.*': expected flip, scale or flip,scale\.$"):
        views_of(text)


def test_what_may_change_of_a_view_is_stated():
    assert stated(("flip", "scale")) == ["flip", f"scale {SCALE}"]
    assert stated(()) == []
