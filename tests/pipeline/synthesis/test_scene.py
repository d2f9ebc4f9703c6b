import math
import re

import numpy as np
import pytest

from maskmill.models.vocabulary.scenes import BACKGROUNDS, COLOURS, SHAPES, names
from maskmill.pipeline.synthesis.scene import LEAST_VISIBLE, PAINT, SIDE, caption, scene
from maskmill.pipeline.synthesis.shapes import OUTLINES

SCENES = [scene(7, index) for index in range(400)]


def test_a_scene_is_a_function_of_seed_and_index_alone():
    again = scene(7, 3)
    assert np.array_equal(again.image, SCENES[3].image)
    assert np.array_equal(again.class_map, SCENES[3].class_map)
    assert (again.caption, again.things) == (SCENES[3].caption, SCENES[3].things)
    assert not np.array_equal(scene(8, 3).image, again.image)
    assert not np.array_equal(scene(7, 4).image, again.image)


def test_images_and_class_maps_have_the_stated_shapes():
    for drawn in SCENES[:20]:
        assert drawn.image.shape == (128, 128, 3)
        assert drawn.image.dtype == np.uint8
        assert drawn.class_map.shape == (128, 128)
        assert drawn.class_map.dtype == np.uint8


def test_every_name_occurs_and_numbers_of_objects_are_even():
    seen = np.zeros(len(names()), int)
    for drawn in SCENES:
        seen[np.unique(drawn.class_map)] += 1
    assert len(seen) == 48
    assert (seen > 0).all()
    assert seen[40:].min() > 400 / 8 / 2
    counts = np.bincount([len(drawn.things) for drawn in SCENES], minlength=4)
    assert counts[0] == 0
    assert counts[1:].min() > 400 / 3 / 1.4


def test_a_class_map_holds_exactly_what_the_caption_says():
    ids = {name: vocab_id for vocab_id, name in enumerate(names())}
    for drawn in SCENES:
        said = re.fullmatch(r"(.+) on (\w+)", drawn.caption)
        objects = [part.split(" ", 1) for part in re.split(r", | and ", said[1])]
        assert all(article == ("an" if name[0] in "aeiou" else "a") for article, name in objects)
        expected = {ids[name] for _, name in objects} | {ids[said[2]]}
        assert set(np.unique(drawn.class_map).tolist()) | {ids[said[2]]} == expected
        assert len(expected) == len(objects) + 1


def test_objects_keep_to_the_stated_sizes_and_angles():
    for thing in (thing for drawn in SCENES for thing in drawn.things):
        assert 18 <= thing.radius <= 44
        assert abs(thing.tilt) <= math.radians(30)
        assert all(0 < place < SIDE for place in thing.centre)


def covers(thing, x: float, y: float) -> bool:
    """Does the object cover this point? Plain geometry, written apart from the painter's arrays."""
    dx, dy = x - thing.centre[0], y - thing.centre[1]
    u = math.cos(thing.tilt) * dx + math.sin(thing.tilt) * dy
    v = math.cos(thing.tilt) * dy - math.sin(thing.tilt) * dx
    r, shape = thing.radius, thing.name.split()[1]
    if shape == "disc":
        return math.hypot(u, v) < r
    if shape == "ring":
        return 0.48 * r < math.hypot(u, v) < r
    if shape == "cross":
        return min(abs(u), abs(v)) < 0.34 * r and max(abs(u), abs(v)) < r
    count, reach, skip = (3, 1.1 * r, 1) if shape == "triangle" else (5, 1.15 * r, 2)
    corners = [
        (reach * math.sin(2 * math.pi * k / count), -reach * math.cos(2 * math.pi * k / count)) for k in range(count)
    ]
    winding = 0.0
    for k in range(count):
        (ax, ay), (bx, by) = corners[k * skip % count], corners[(k + 1) * skip % count]
        turn = math.atan2(by - v, bx - u) - math.atan2(ay - v, ax - u)
        winding += (turn + math.pi) % (2 * math.pi) - math.pi
    return round(winding / (2 * math.pi)) != 0


def test_class_maps_are_exact_at_pixel_centres():
    for drawn in SCENES[:40]:
        wrong = 0
        for y, x in np.random.default_rng(0).integers(0, SIDE, (400, 2)).tolist():
            top = [thing.vocab_id for thing in drawn.things if covers(thing, x + 0.5, y + 0.5)]
            wrong += drawn.class_map[y, x] != (top[-1] if top else 40 + BACKGROUNDS.index(drawn.background))
        assert wrong <= 1, drawn.caption  # a centre within 1e-4 of an outline may round either way


def test_every_object_shows_a_quarter_of_itself():
    for drawn in SCENES[:120]:
        for thing in drawn.things:
            mine = np.array([[covers(thing, x + 0.5, y + 0.5) for x in range(0, SIDE, 4)] for y in range(0, SIDE, 4)])
            shown = (drawn.class_map == thing.vocab_id).sum() / 16
            assert shown >= LEAST_VISIBLE * mine.sum() * 0.8, drawn.caption


def test_an_objects_pixels_are_nearest_to_its_own_colour():
    paints = np.array([PAINT[colour] for colour in COLOURS], float)
    directions = paints / np.linalg.norm(paints, axis=1, keepdims=True)
    for drawn in SCENES:
        for thing in drawn.things:
            colour = thing.name.split()[0]
            mean = drawn.image[drawn.class_map == thing.vocab_id].mean(0)
            dark = np.linalg.norm(mean) < 70
            nearest = "black" if dark else COLOURS[np.argmax((directions @ mean)[:-1])]
            assert nearest == colour, drawn.caption


def test_words_and_painters_agree():
    assert set(SHAPES) == set(OUTLINES)
    assert set(COLOURS) == set(PAINT)


@pytest.mark.parametrize(
    ("objects", "sentence"),
    [
        (["red ring"], "a red ring on sand"),
        (["red ring", "orange disc"], "a red ring and an orange disc on sand"),
        (["red ring", "blue star", "green cross"], "a red ring, a blue star and a green cross on sand"),
    ],
)
def test_captions_list_objects_as_people_do(objects, sentence):
    assert caption(objects, "sand") == sentence
