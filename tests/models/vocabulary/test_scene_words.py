"""The words of the procedural scenes."""

from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.scenes import BACKGROUNDS, COLOURS, SHAPES, names, object_name


def test_eight_colours_five_shapes_and_eight_backgrounds_make_48_names():
    assert (len(set(COLOURS)), len(set(SHAPES)), len(set(BACKGROUNDS))) == (8, 5, 8)
    assert len(set(names())) == 48


def test_objects_are_two_words_and_backgrounds_one():
    assert all(len(name.split()) == 2 for name in names()[:40])
    assert all(len(name.split()) == 1 for name in names()[40:])


def test_ids_count_shapes_fastest_then_backgrounds():
    vocabulary = Vocabulary.load("scenes")
    assert vocabulary[7].name == object_name(COLOURS[1], SHAPES[2])
    assert [vocabulary[40 + i].name for i in range(8)] == list(BACKGROUNDS)
    assert [entry.kind for entry in vocabulary] == ["thing"] * 40 + ["stuff"] * 8
