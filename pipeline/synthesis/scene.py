"""Draws one procedural scene: image, exact class map, caption. A pure function of seed and index; writes no file."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmill.models.vocabulary.scenes import BACKGROUNDS, COLOURS, SHAPES, names, object_name
from maskmill.pipeline.synthesis.backgrounds import paint
from maskmill.pipeline.synthesis.shapes import EXTENT, OUTLINES, SIDE, Plane

RADII = (18.0, 44.0)
"""Smallest and largest radius of an object, in pixels."""

TILT = math.radians(30)
"""Objects are turned by at most this angle to either side, in radians."""

MOST_OBJECTS = 3
"""A scene holds one object to this many."""

LEAST_VISIBLE = 0.25
"""Every object shows at least this share of its pixels; layouts that hide more are drawn again."""

INSIDE = 0.7
"""An object's centre stays at least this many radii away from the border."""

PAINT = {
    "red": (206, 28, 32),
    "orange": (247, 133, 16),
    "yellow": (249, 222, 40),
    "green": (28, 150, 48),
    "cyan": (38, 205, 212),
    "blue": (30, 68, 205),
    "purple": (122, 36, 158),
    "black": (26, 26, 30),
}
"""Colour word to 8-bit RGB before shading, which scales it by 0.7 to 1.05."""

IDS = {name: vocab_id for vocab_id, name in enumerate(names())}
"""Name to id in the vocabulary `scenes`."""

_CENTRES = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One object of a scene."""

    name: str
    """Colour and shape, e.g. `red ring`: a name of the vocabulary `scenes`."""

    vocab_id: int
    """Id of the name in the vocabulary `scenes`."""

    centre: tuple[float, float]
    """x, y in pixels; pixel centres are at halves."""

    radius: float
    """In pixels."""

    tilt: float
    """Rotation in radians, clockwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """An image of one to three objects before a background, with all that is true about it."""

    image: NDArray[np.uint8]
    """RGB [128, 128, 3]."""

    class_map: NDArray[np.uint8]
    """[128, 128], id of the vocabulary `scenes` at every pixel's centre."""

    caption: str
    """E.g. `a red ring and a blue star on sand`."""

    background: str
    """Name of the background."""

    things: tuple[Thing, ...]
    """The objects from back to front, which is the caption's order."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """An object's geometry on the pixel grid: the part of the scene it touches and the distances there."""

    rows: slice
    columns: slice
    x: Plane
    """[1 or h, w] x of pixel centres in the object's frame."""
    y: Plane
    distance: Plane
    """[h, w] to the outline, negative inside."""
    inside: NDArray[np.bool_]
    """[h, w] pixel centres that the object covers."""


def scene(seed: int, index: int) -> Scene:
    """Draw a scene.

    Equal arguments give equal scenes in any order and any process. Only correctly rounded arithmetic touches pixels, so
    they do not depend on the processor either.

    Args:
        seed: of the data set, 0 or more.
        index: of the scene in the data set, 0 or more.

    Returns:
        The scene; no two of its objects share colour and shape, and each shows at least `LEAST_VISIBLE` of itself.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
    background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    canvas = paint(background, rng)
    count = 1 + int(rng.integers(MOST_OBJECTS))
    kinds = [divmod(int(kind), len(SHAPES)) for kind in rng.permutation(len(COLOURS) * len(SHAPES))[:count]]

    things, placed, class_map = _layout(rng, [(COLOURS[colour], SHAPES[shape]) for colour, shape in kinds], background)
    for (colour, _), thing, geometry in zip(kinds, things, placed, strict=True):
        _draw(canvas, COLOURS[colour], thing.radius, geometry, float(rng.uniform(0.0, 1.0)))

    canvas += np.float32(0.5)
    image = np.stack(list(np.clip(canvas, 0.0, 255.0, out=canvas).astype(np.uint8)), axis=-1)
    return Scene(
        image=image,
        class_map=class_map,
        caption=caption([thing.name for thing in things], background),
        background=background,
        things=things,
    )


def caption(objects: list[str], background: str) -> str:
    """The sentence for a scene.

    Args:
        objects: names of the objects, one at least, in the order they are said.
        background: its name.

    Returns:
        E.g. `a red ring, an orange disc and a blue star on sand`.
    """
    said = [f"{'an' if name[0] in 'aeiou' else 'a'} {name}" for name in objects]
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return f"{listed} on {background}"


def _layout(
    rng: np.random.Generator, kinds: list[tuple[str, str]], background: str
) -> tuple[tuple[Thing, ...], list[_Placed], NDArray[np.uint8]]:
    """Places until every object shows enough of itself. Smaller radii are tried as failures add up, so it ends."""
    attempt = 0
    while True:
        largest = max(RADII[0], RADII[1] - attempt)
        things, placed = [], []
        class_map = np.full((SIDE, SIDE), IDS[background], np.uint8)
        for colour, shape in kinds:
            radius = float(rng.uniform(RADII[0], largest))
            margin = INSIDE * radius
            centre = (float(rng.uniform(margin, SIDE - margin)), float(rng.uniform(margin, SIDE - margin)))
            name = object_name(colour, shape)
            thing = Thing(
                name=name,
                vocab_id=IDS[name],
                centre=centre,
                radius=radius,
                tilt=float(rng.uniform(-TILT, TILT)),
            )
            geometry = _place(thing, shape)
            class_map[geometry.rows, geometry.columns][geometry.inside] = thing.vocab_id
            things.append(thing)
            placed.append(geometry)
        pixels = np.bincount(class_map.ravel(), minlength=256)
        if all(
            pixels[thing.vocab_id] >= LEAST_VISIBLE * np.count_nonzero(geometry.inside)
            for thing, geometry in zip(things, placed, strict=True)
        ):
            return tuple(things), placed, class_map
        attempt += 1


def _place(thing: Thing, shape: str) -> _Placed:
    (cx, cy), reach = thing.centre, EXTENT * thing.radius
    rows = slice(max(0, math.floor(cy - reach)), min(SIDE, math.ceil(cy + reach)))
    columns = slice(max(0, math.floor(cx - reach)), min(SIDE, math.ceil(cx + reach)))
    right = (_CENTRES[columns] - np.float32(cx))[None, :]
    down = (_CENTRES[rows] - np.float32(cy))[:, None]
    # Rounded to 2^-20: far finer than a pixel, far coarser than what mathematics libraries disagree about.
    cosine, sine = (np.float32(round(value * 2**20) / 2**20) for value in (math.cos(thing.tilt), math.sin(thing.tilt)))
    x: Plane = cosine * right + sine * down
    y: Plane = cosine * down - sine * right
    distance = OUTLINES[shape](x, y, thing.radius)
    return _Placed(rows, columns, x, y, distance, distance < 0)


def _draw(canvas: Plane, colour: str, radius: float, geometry: _Placed, light: float) -> None:
    """Lays the object over the canvas, float32 [3, 128, 128]: lit from above, rim darker, edge antialiased."""
    # `light` moves the lamp from left to right; brightness falls by distance from it.
    slope = np.float32(0.12 / radius)
    shade = geometry.x * (slope * np.float32(1.0 - 2.0 * light)) - geometry.y * slope + np.float32(0.93)
    rim = np.clip(geometry.distance + np.float32(3.0), 0.0, 1.0)
    shade = np.clip(shade, 0.78, 1.05) * (np.float32(1.0) - np.float32(0.22) * rim)
    coverage = np.clip(np.float32(0.5) - geometry.distance, 0.0, 1.0)
    shade *= coverage
    keep = np.float32(1.0) - coverage
    for plane, value in zip(canvas, PAINT[colour], strict=True):
        part = plane[geometry.rows, geometry.columns]
        part *= keep
        part += shade * np.float32(value)
