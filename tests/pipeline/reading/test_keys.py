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
        ("photos/._0.jpg", (None, None)),
        ("photos/.DS_Store", (None, None)),
        ("d.e/.hidden.jpg", (None, None)),
        ("__MACOSX/photos/0.jpg", (None, None)),
        ("data/__MACOSX/0.jpg", (None, None)),
        ("d/__MACOSX.jpg", ("d/__MACOSX", "jpg")),
        ("d/Thumbs.db", (None, None)),
        ("DESKTOP.INI", (None, None)),
        ("d/desktop.ini.jpg", ("d/desktop", "ini.jpg")),
        ("./PaxHeaders.1234/0.jpg", (None, None)),
        ("d/PaxHeader/0.jpg", (None, None)),
        ("d/PaxHeaders.jpg", ("d/PaxHeaders", "jpg")),
        (".config/a.jpg", (".config/a", "jpg")),
        ("../up.jpg", ("../up", "jpg")),
        ("a\n.jpg", ("a\n", "jpg")),
        (".x\n/.y\n", (None, None)),
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
    elif "__" not in name and not name.rpartition("/")[2].startswith("."):
        assert base_plus_ext(name) == (None, None)


@pytest.mark.timeout(20)
def test_the_worst_name_costs_little() -> None:
    assert split_name("/" * (MAX_NAME - 8) + ".a/.b/.c") == (None, None)
    assert split_name("/PaxHeaders." * (MAX_NAME // 12)) == (None, None)
    assert split_name("/." * (MAX_NAME // 2) + "/a") == (None, None)
