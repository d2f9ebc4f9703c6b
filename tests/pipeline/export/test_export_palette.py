import pytest

from maskmill.pipeline.export.palette import UNLABELED, class_colours


@pytest.mark.parametrize("classes", [1, 20, 171, 255, 847, 20_000])
def test_no_two_classes_look_alike_and_none_as_unlabeled(classes):
    colours = class_colours(classes)
    assert len(set(colours)) == len(colours) == classes
    assert UNLABELED not in colours
    assert all(0 <= value <= 255 for colour in colours for value in colour)


def test_a_larger_vocabulary_leaves_the_colours_of_the_first_classes():
    assert class_colours(255)[:48] == class_colours(48)
