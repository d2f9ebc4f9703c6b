import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from maskmill.pipeline.reading.archive import MAX_NAME
from maskmill.pipeline.reading.keys import split_name


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.jpg", ("a", "jpg")),
        ("d.e/a.seg.PNG", ("d.e/a", "seg.png")),
        ("./a.jpg", ("./a", "jpg")),
        ("README", (None, None)),
        (".hidden", (None, None)),
        ("a.__bad__", (None, None)),
        ("a.__KEY__", (None, None)),
        ("__meta__/x.json", (None, None)),
    ],
)
def test_a_name_is_key_and_extension(name: str, parts: tuple[str | None, str | None]) -> None:
    assert split_name(name) == parts


@settings(max_examples=300, deadline=None)
@given(st.text("ab./_\n", max_size=12))
def test_the_rule_is_webdatasets(name: str) -> None:
    key, extension = split_name(name)
    if key is not None:
        theirs = base_plus_ext(name)
        assert (key, extension) == (theirs[0], theirs[1].lower())
    elif "__" not in name:
        assert base_plus_ext(name) == (None, None)


@pytest.mark.timeout(20)
def test_the_worst_name_costs_little() -> None:
    assert split_name("/" * (MAX_NAME - 8) + ".a/.b/.c") == (None, None)
