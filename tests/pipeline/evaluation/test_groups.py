"""Groups of the scenes' vocabulary, and of vocabularies that know less of their classes."""

import pytest

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.scenes import COLOURS, NOVEL, SHAPES
from maskmill.pipeline.evaluation.groups import groups_of


def test_scenes_have_seen_and_novel_objects_and_backgrounds():
    groups = groups_of(Vocabulary.load("scenes"), NOVEL)
    assert {group.name: len(group.ids) for group in groups.means} == {
        "all": 48,
        "objects": 40,
        "seen": 34,
        "novel": 6,
        "background": 8,
    }
    (colours,) = groups.coarser
    assert len(colours.parts) == 16
    assert sorted(i for part in colours.parts for i in part) == list(range(48))
    assert colours.parts[1] == (5, 6, 7, 8, 9)  # orange: the second colour's five shapes
    assert groups.sides is not None
    assert groups.sides.parts == (tuple(range(40)), tuple(range(40, 48)))


def test_every_colour_and_shape_of_a_novel_object_is_seen_in_another():
    seen = [(colour, shape) for colour in COLOURS for shape in SHAPES if f"{colour} {shape}" not in NOVEL]
    assert {colour for colour, _ in seen} == set(COLOURS)
    assert {shape for _, shape in seen} == set(SHAPES)


def test_without_kinds_all_classes_can_be_seen_or_novel():
    groups = groups_of(Vocabulary.of(["cat", "dog", "cow"]), ["cow"])
    assert {group.name: group.ids for group in groups.means} == {"all": (0, 1, 2), "seen": (0, 1), "novel": (2,)}
    assert groups.sides is None
    assert groups.coarser == ()


def test_an_unknown_novel_name_is_told():
    with pytest.raises(UsageError, match="--novel 'red tsar': no such name"):
        groups_of(Vocabulary.load("scenes"), ["red tsar"])
