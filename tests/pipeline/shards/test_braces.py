import pytest
from braceexpand import braceexpand
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.models.errors import UsageError
from maskmill.pipeline.shards.braces import _count, expand_braces


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("s-{08..10}.tar", ["s-08.tar", "s-09.tar", "s-10.tar"]),
        ("{b,a}/{0..1}", ["b/0", "b/1", "a/0", "a/1"]),
        ("{3..1..2}", ["3", "1"]),
        ("x{1,{5..6}}", ["x1", "x5", "x6"]),
        ("{only}", ["{only}"]),
    ],
)
def test_braces_expand_as_in_bash(pattern: str, names: list[str]) -> None:
    assert list(expand_braces(pattern)) == names


_ATOMS = st.sampled_from(["a", "-", "0..3", "5..1..2", "a..c", "x,y", ",", "007..010", "-2..2", "1..9..0"])
_PATTERNS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        inner.map(lambda text: "{" + text + "}"),
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: "{" + ",".join(pair) + "}"),
    ),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(_PATTERNS)
def test_the_count_is_never_below_what_is_made(pattern: str) -> None:
    made = len(list(braceexpand(pattern, escape=False)))
    assert made <= _count(pattern)
    if "a..c" not in pattern:  # letters are counted as a whole alphabet
        assert made == _count(pattern)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "pattern",
    ["{0..99999999999}", "{0..9999}" * 3, "{a,b}" * 40, "{" + "0" * 3000 + "1..9000000}", "{0..9}" * 400],
)
def test_a_bomb_is_refused_before_it_goes_off(pattern: str) -> None:
    with pytest.raises(UsageError, match="at most 10,000,000"):
        expand_braces(pattern)


@pytest.mark.parametrize("pattern", ["{1..3", "{1}}", "{" * 2000 + "}" * 2000, "{{a,b}"])
def test_braces_that_make_no_sense_are_wrong_usage(pattern: str) -> None:
    with pytest.raises(UsageError, match="braces don't match"):
        list(expand_braces(pattern))
