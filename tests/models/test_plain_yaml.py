"""YAML's core schema of 1.2, and the bounds that keep a small file small."""

import math

import pytest

from maskmill.models import plain_yaml
from maskmill.models.plain_yaml import YamlError, parse


def refused(text: str) -> str:
    with pytest.raises(YamlError) as raised:
        parse(text)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-7", -7), ("+3", 3), ("010", 10), ("0o17", 15), ("0x1F", 31), ("1.5", 1.5), (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0), ("-2E-2", -0.02), (".inf", math.inf), ("-.INF", -math.inf), ("true", True), ("FALSE", False),
        ("null", None), ("~", None), ("", None),
    ],
)  # fmt: skip
def test_plain_scalars_of_the_core_schema(text, value):
    (found,) = parse(f"- {text}\n")
    assert found == value
    assert type(found) is type(value)


def test_not_a_number():
    assert math.isnan(parse("- .nan")[0])


@pytest.mark.parametrize(
    "text", ["yes", "no", "On", "off", "y", "1:16", "1_000", "2024-01-01", "0b11", "<<", "tRUE", "1e"]
)
def test_what_only_yaml_1_1_takes_for_another_type_is_text(text):
    assert parse(f"{text}: {text}") == {text: text}


@pytest.mark.parametrize("text", ["'1'", '"true"', "|-\n  1", "'null'", "''"])
def test_quoted_scalars_are_text(text):
    assert isinstance(parse(f"a: {text}\n")["a"], str)


def test_lists_and_mappings_lie_within_one_another():
    assert parse("a: [1, {b: c}]\nd:\n  - e\n  -\n") == {"a": [1, {"b": "c"}], "d": ["e", None]}
    assert parse("") is parse("# nothing\n") is None


def test_a_reader_of_scalars_can_be_given():
    assert parse("a: [010, 'no']", lambda text: text) == {"a": ["010", "no"]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- !!bool maybe", "line 1 a tag, !!bool"), ("- !!int ''", "a tag, !!int"), ("!!timestamp x", "a tag"),
        ("- a\n- !!binary ''", "line 2 a tag, !!binary"), ("!!set {a}", "a tag"), ("! a", "a tag, !"),
        ("!!python/object/apply:os.system [ls]", "a tag, !!python/object/apply:os.system"),
        ("&a {x: *a}", "an alias"), ("- &a 1\n- *a", "line 2 an alias"), ("a: 1\na: 2", "a field stands twice"),
        ("? [a]\n: b", "a field whose name is no text"), ("a\n---\nb", "a second document"),
        ("[" * 100_000, "more than 32 lists"), ("- " * 1_000 + "a", "more than 32 lists"), ("- [unclosed", "line"),
        ("- 'nul \x00'", "unacceptable character"), ("- " + "9" * 10_000, "too many digits"), ("\ta: b", "line 1"),
    ],
    ids=lambda text: repr(text)[:24],
)  # fmt: skip
def test_what_is_not_plain_is_refused_in_one_line(text, problem):
    assert problem in refused(text)


def test_aliases_that_would_multiply_are_refused():
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 100)]
    assert "line 2 an alias" in refused("\n".join(lines))


def test_a_bound_on_values_is_kept(monkeypatch):
    monkeypatch.setattr(plain_yaml, "MAX_VALUES", 100)
    assert len(parse("- a\n" * 99)) == 99
    assert "more than 100 values" in refused("- a\n" * 100)
