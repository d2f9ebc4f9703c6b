"""The shipped label sets. Counts, ends and kinds are the published ones; hashes are stored so that drift is noticed."""

import pytest

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.shipped import LABEL_SETS

FACTS = {
    # name: count, first, last, things, stuff
    "coco-stuff-171": (171, "person", "wood", 80, 91),
    "ade-150": (150, "wall", "flag", 100, 50),
    "ade-150-short": (150, "wall", "flag", 100, 50),
    "ade-847": (847, "wall", "adding machine, totalizer, totaliser", 0, 0),
    "pcontext-59": (59, "aeroplane", "wood", 0, 0),
    "pcontext-459": (459, "accordion", "wool", 0, 0),
    "voc-20": (20, "aeroplane", "tv", 20, 0),
    "scenes": (48, "red disc", "snow", 40, 8),
}

HASHES = {
    "coco-stuff-171": "ff55cfab176b9573067b2287808b0e342d3d4f888f2656b5b08f8c69bcf05843",
    "ade-150": "f445bff16200bc69c007066ad0caf1328a661e46648d014b46547571e3bba9a4",
    "ade-150-short": "98e22255405b9cbed6aa5847864ceb13927dba846a0d0cc1247fedebfe41c198",
    "ade-847": "592352a54f4052e82418230362af1ea08462eb6b3601151722360c565d960567",
    "pcontext-59": "946af4dbdcf8a4b41c7e00b5db8fdbef316acd992406332d4df4a239697a6a73",
    "pcontext-459": "4df52c30f886b9ac4d6424593194df95d7981f3289735a7e490da9750255ff6f",
    "voc-20": "3ce419d29290ae74380c356e646eaecec6f109831d8ac89a234c51d1c22ba736",
    "scenes": "e9e1365a089a676e78cb901d9b8b0e0edc0001149d11d72ede886b8b316f7521",
}


def test_the_shipped_sets_are_these():
    assert set(LABEL_SETS) == set(FACTS) == set(HASHES)


@pytest.mark.parametrize("name", FACTS)
def test_a_set_has_its_published_size_ends_and_kinds(name):
    vocabulary = Vocabulary.load(name)
    kinds = [entry.kind for entry in vocabulary]
    facts = (len(vocabulary), vocabulary[0].name, vocabulary[-1].name, kinds.count("thing"), kinds.count("stuff"))
    assert facts == FACTS[name]
    assert {entry.source for entry in vocabulary} == {name}
    assert all(entry.synonyms == () for entry in vocabulary)


@pytest.mark.parametrize("name", HASHES)
def test_a_set_never_drifts(name):
    assert Vocabulary.load(name).hash == HASHES[name]


def test_coco_has_its_things_first_as_the_released_classifier_does():
    vocabulary = Vocabulary.load("coco-stuff-171")
    assert [entry.kind for entry in vocabulary] == ["thing"] * 80 + ["stuff"] * 91
    assert (vocabulary[79].name, vocabulary[80].name) == ("toothbrush", "banner")
    assert "sky-other" in vocabulary.names


def test_ade_150_keeps_the_benchmarks_raw_names_at_their_ids():
    # Ids of ADE's benchmark, counted from 0; commas are part of a name and no synonyms.
    vocabulary = Vocabulary.load("ade-150")
    expected = {6: "road, route", 8: "window", 12: "person", 37: "tub", 89: "tv", 113: "falls", 138: "trash can"}
    assert {i: vocabulary[i].name for i in expected} == expected
    assert [vocabulary[i].kind for i in (0, 7, 8, 9, 126, 145)] == [
        "stuff",
        "thing",
        "thing",
        "stuff",
        "thing",
        "stuff",
    ]


def test_an_unknown_name_says_which_sets_there_are():
    with pytest.raises(UsageError) as error:
        Vocabulary.load("coco-stuff-172")
    text = str(error.value)
    assert text.startswith(
        "--vocab 'coco-stuff-172': no such label set or file; label sets are coco-stuff-171, ade-150, "
    )
    assert "\n" not in text
