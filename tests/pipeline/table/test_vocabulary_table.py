"""The vocabulary of a run as a Parquet table: schema, round trip, and what is refused coming back."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Entry, Vocabulary
from maskmill.models.vocabulary.shipped import LABEL_SETS
from maskmill.pipeline import parquet
from maskmill.pipeline.output import Output
from maskmill.pipeline.table.vocabulary_table import VOCABULARY, from_table, to_table, vocabulary_of_run

MIXED = Vocabulary(
    (
        Entry(vocab_id=0, name="cat", synonyms=("kitty", "tom cat"), kind="thing", source="pets.yaml"),
        Entry(vocab_id=1, name="building, edifice", source="pets.yaml"),
        Entry(vocab_id=2, name="Grün", kind="stuff", source="captions"),
    )
)


def test_the_schema_is_the_contracts():
    assert [(field.name, str(field.type)) for field in VOCABULARY] == [
        ("vocab_id", "int32"),
        ("name", "string"),
        ("synonyms", "list<item: string>"),
        ("source", "string"),
        ("kind", "string"),
    ]


def test_a_vocabulary_survives_a_parquet_file(tmp_path):
    pq.write_table(to_table(MIXED), tmp_path / "vocabulary.parquet")
    back = from_table(pq.read_table(tmp_path / "vocabulary.parquet"))
    assert back == MIXED
    assert back.hash == MIXED.hash


@pytest.mark.parametrize("name", LABEL_SETS)
def test_every_label_set_survives(name):
    assert from_table(to_table(Vocabulary.load(name))) == Vocabulary.load(name)


def test_columns_have_the_entries_values():
    assert to_table(MIXED).to_pydict() == {
        "vocab_id": [0, 1, 2],
        "name": ["cat", "building, edifice", "Grün"],
        "synonyms": [["kitty", "tom cat"], [], []],
        "source": ["pets.yaml", "pets.yaml", "captions"],
        "kind": ["thing", None, "stuff"],
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"vocab_id": [0, 2, 1]}, "ids aren't 0 to 2 in order"),
        ({"vocab_id": ["a", "b", "c"]}, "not a vocabulary"),
        ({"vocab_id": [0, None, 2]}, "not a vocabulary"),
        ({"name": ["cat", "", "dog"]}, "id 1: an empty name"),
        ({"name": ["cat", "CAT", "dog"]}, "id 1: name 'CAT' is also in id 0"),
        ({"name": ["cat", None, "dog"]}, "not a vocabulary"),
        ({"synonyms": [["kitty"], None, []]}, "not a vocabulary"),
        ({"synonyms": [["kitty"], [None], []]}, "null where"),
        ({"kind": ["thing", "animal", None]}, "id 1: kind 'animal'"),
    ],
)
def test_a_table_that_is_no_vocabulary_is_refused(change, expected):
    columns = to_table(MIXED).to_pydict() | change
    with pytest.raises(UsageError) as error:
        from_table(pa.table(columns))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_columns_are_named():
    with pytest.raises(UsageError, match="columns vocab_id, name; expected vocab_id, name, synonyms, source, kind"):
        from_table(to_table(MIXED).select(["vocab_id", "name"]))


def test_a_vocabulary_that_is_not_the_runs_is_refused(tmp_path):
    output = Output.of(str(tmp_path))
    reversed_names = Vocabulary.of(list(reversed(MIXED.names)))
    parquet.write(to_table(reversed_names), output.vocabulary)
    assert vocabulary_of_run(output) == from_table(to_table(reversed_names)), "there is no run.json to compare with"
    for identity in ({}, {"vocabulary": reversed_names.hash}):
        output.write_json(output.run, {"identity": identity, "fingerprint": "f"})
        assert vocabulary_of_run(output).names == reversed_names.names
    output.write_json(output.run, {"identity": {"vocabulary": MIXED.hash}, "fingerprint": "f"})
    with pytest.raises(UsageError, match=r"vocabulary\.parquet: another vocabulary than run\.json's") as refused:
        vocabulary_of_run(output)
    assert "\n" not in str(refused.value)
