"""JSON that is written entry by entry says what `json.dumps` says."""

import json

from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.json_stream import chunks

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(st.text(), values, max_size=5))
def test_any_value_comes_back(value):
    assert json.loads("".join(chunks(value))) == value


@given(st.dictionaries(st.text(), st.lists(values, max_size=5), max_size=5))
def test_an_iterator_is_an_array_also_where_it_gives_nothing(value):
    assert json.loads("".join(chunks({"in": {name: iter(entries) for name, entries in value.items()}}))) == {
        "in": value
    }


def test_entries_are_asked_for_one_at_a_time():
    asked = []

    def entries():
        for number in range(1000):
            asked.append(number)
            yield number

    pieces = chunks({"long": entries()})
    for _ in range(5):
        next(pieces)
    assert len(asked) < 5


def test_it_reads_well():
    found = "".join(chunks({"a": {"b": 1, "c": iter(["x", "y"])}, "none": iter([]), "empty": {}}))
    assert (
        found
        == '{\n  "a": {\n    "b": 1,\n    "c": [\n      "x",\n      "y"\n    ]\n  },\n  "none": [],\n  "empty": {}\n}'
    )
