"""The outlines of scene objects as signed distances. What colour fills them and where they stand is not said here."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
"""One float32 number for each pixel of a scene or of a part of it."""

SIDE = 128
"""Height and width of every scene, in pixels."""

EXTENT = 1.2
"""No outline reaches further than this many radii from its centre."""

Outline = Callable[[Plane, Plane, float], Plane]
"""Takes x and y of each pixel centre relative to the object, in pixels, y downwards, in the object's own frame, and the
object's radius in pixels. Returns about the distance to the outline, in pixels, negative inside."""


def _disc(x: Plane, y: Plane, radius: float) -> Plane:
    distance: Plane = _length(x, y) - np.float32(radius)
    return distance


def _ring(x: Plane, y: Plane, radius: float) -> Plane:
    distance: Plane = np.abs(_length(x, y) - np.float32(0.74 * radius)) - np.float32(0.26 * radius)
    return distance


def _triangle(x: Plane, y: Plane, radius: float) -> Plane:
    # Equilateral, point up: three lines at 0.55 radii from the centre, two of them mirrored.
    slope = np.float32(0.8660254) * np.abs(x) - np.float32(0.5) * y
    return np.maximum(slope, y) - np.float32(0.55 * radius)


# Outward normals of a pentagram's five lines, one of its points up. Rounded: the last digits of the mathematics library
# then never reach a pixel.
_STAR_NORMALS = (
    (0.0, -1.0),
    (0.951057, -0.309017),
    (0.587785, 0.809017),
    (-0.587785, 0.809017),
    (-0.951057, -0.309017),
)


def _star(x: Plane, y: Plane, radius: float) -> Plane:
    # A point is in a pentagram if and only if it is beyond one of the five lines at most, so the second largest of the
    # five distances decides.
    largest = second = np.full(np.broadcast_shapes(x.shape, y.shape), -np.inf, np.float32)
    for nx, ny in _STAR_NORMALS:
        distance = np.float32(nx) * x + np.float32(ny) * y
        second = np.maximum(second, np.minimum(largest, distance))
        largest = np.maximum(largest, distance)
    return second - np.float32(0.309017 * 1.15 * radius)


def _cross(x: Plane, y: Plane, radius: float) -> Plane:
    length, width = np.float32(radius), np.float32(0.34 * radius)
    across, along = np.abs(x), np.abs(y)
    bar: Plane = np.maximum(across - length, along - width)
    return np.minimum(bar, np.maximum(across - width, along - length))


def _length(x: Plane, y: Plane) -> Plane:
    # Not hypot: square roots are rounded the same way on every machine.
    length: Plane = np.sqrt(x * x + y * y)
    return length


OUTLINES: dict[str, Outline] = {
    "disc": _disc,
    "ring": _ring,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
}
"""Shape name to outline."""
