"""Paints the named backgrounds of scenes: eight textures that differ in pattern as well as in colour. No objects."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from maskmill.pipeline.synthesis.shapes import SIDE, Plane

Colour = tuple[float, float, float]
"""8-bit RGB."""


def paint(name: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """Paint a background.

    Args:
        name: one of the vocabulary's `BACKGROUNDS`.
        rng: drawn from for everything that varies between two pictures of one background.

    Returns:
        float32 [3, 128, 128], RGB in about [0, 255]; not clipped.
    """
    canvas = _PAINTERS[name](rng)
    canvas *= np.float32(rng.uniform(0.92, 1.06))
    return canvas


# Sines from a table, noise from small integers: every operation on pixels is then rounded the same way on every machine
# and with every number of BLAS threads.
_TURN = 1024
_SINES = np.array([round(math.sin(2 * math.pi * step / _TURN) * 2**16) / 2**16 for step in range(_TURN)], np.float32)
_LINE = np.arange(SIDE, dtype=np.float32)
_ROWS, _COLUMNS = _LINE[:, None], _LINE[None, :]


def _blends(points: int) -> Plane:
    """[128, points] weights that blend a line of points smoothly; multiples of 1/256, so that sums are exact."""
    place = _LINE.astype(np.float64) * (points - 1) / SIDE
    left = place.astype(np.int64)
    share = place - left
    weight: NDArray[np.float64] = np.round(share * share * (3 - 2 * share) * 256) / 256
    blends = np.zeros((SIDE, points))
    blends[np.arange(SIDE), left] = 1 - weight
    blends[np.arange(SIDE), left + 1] = weight
    return blends.astype(np.float32)


_BLENDS: dict[int, Plane] = {}


def _noise(rng: np.random.Generator, down: int, across: int) -> Plane:
    """Smooth noise [128, 128] in [0, 1] between a grid of `down` by `across` random points."""
    for points in (down, across):
        if points not in _BLENDS:
            _BLENDS[points] = _blends(points)
    grid = np.frombuffer(rng.bytes(down * across), np.uint8).reshape(down, across).astype(np.float32)
    noise: Plane = np.multiply(_BLENDS[down] @ grid @ _BLENDS[across].T, np.float32(1 / 255))
    return noise


def _grain(rng: np.random.Generator) -> Plane:
    """Noise [128, 128] in [0, 1], each pixel by itself."""
    grain = np.frombuffer(rng.bytes(SIDE * SIDE), np.uint8).reshape(SIDE, SIDE).astype(np.float32)
    grain *= np.float32(1 / 255)
    return grain


def _wave(turns: Plane) -> Plane:
    """Sine in [0, 1] of an angle counted in turns."""
    wave: Plane = _SINES[(turns * np.float32(_TURN)).astype(np.int32) & (_TURN - 1)]
    return wave * np.float32(0.5) + np.float32(0.5)


def _between(share: Plane, low: Colour, high: Colour) -> NDArray[np.float32]:
    """[3, 128, 128]: `low` where the share is 0, `high` where it is 1."""
    canvas = np.empty((3, SIDE, SIDE), np.float32)
    for plane, start, end in zip(canvas, low, high, strict=True):
        np.add(share * np.float32(end - start), np.float32(start), out=plane)
    return canvas


def _sand(rng: np.random.Generator) -> NDArray[np.float32]:
    """Fine grain over soft ripples."""
    period, lean = float(rng.uniform(14, 22)), float(rng.uniform(-0.4, 0.4))
    bent = _ROWS + np.float32(lean) * _COLUMNS + np.float32(18) * _noise(rng, 5, 5)
    ripples = _wave(bent * np.float32(1 / period))
    return _between(np.float32(0.6) * ripples + np.float32(0.4) * _grain(rng), (188, 160, 112), (232, 210, 164))


def _grass(rng: np.random.Generator) -> NDArray[np.float32]:
    """Upright blades, light over dark."""
    blades = np.maximum(_noise(rng, 14, 120), _noise(rng, 9, 70))
    share = blades * blades * np.float32(0.8) + np.float32(0.3) * _noise(rng, 4, 4) - np.float32(0.1)
    return _between(share, (34, 62, 22), (142, 172, 82))


def _water(rng: np.random.Generator) -> NDArray[np.float32]:
    """Level waves with bright crests."""
    period = float(rng.uniform(9, 14))
    bent = _ROWS + np.float32(16) * _noise(rng, 7, 5)
    crests = _wave(bent * np.float32(1 / period)) * _noise(rng, 24, 10)
    return _between(crests * crests + np.float32(0.25) * _noise(rng, 4, 3), (22, 78, 98), (150, 208, 208))


def _brick(rng: np.random.Generator) -> NDArray[np.float32]:
    """Courses of bricks, each of its own shade, in light mortar."""
    height, shift = int(rng.integers(11, 17)), int(rng.integers(0, 64))
    width = 2 * height + int(rng.integers(0, 6))
    row = (np.arange(SIDE) + shift) // height
    place = np.arange(SIDE)[None, :] + shift + (row % 2 * (width // 2))[:, None]
    shades = np.frombuffer(rng.bytes(1024), np.uint8).astype(np.float32) * np.float32(1 / 255)
    share = shades[((place // width) + row[:, None] * 13) & 1023]
    share = np.float32(0.65) * share + np.float32(0.35) * _grain(rng)
    canvas = _between(share, (112, 62, 50), (172, 104, 84))
    mortar = (place % width < 2) | ((np.arange(SIDE) + shift) % height < 2)[:, None]
    canvas[:, mortar] = np.array([[186], [178], [168]], np.float32)
    return canvas


def _wood(rng: np.random.Generator) -> NDArray[np.float32]:
    """Level boards with bent grain and dark joints."""
    width, shift = int(rng.integers(26, 40)), int(rng.integers(0, 40))
    board = (np.arange(SIDE) + shift) // width
    tone = np.frombuffer(rng.bytes(8), np.uint8).astype(np.float32)[board] * np.float32(1 / 255)
    bent = _ROWS + np.float32(20) * _noise(rng, 7, 3)
    share = np.float32(0.45) * _wave(bent * np.float32(1 / 5.5)) + np.float32(0.3) * _noise(rng, 64, 6)
    share += np.float32(0.3) * tone[:, None]
    share[(np.arange(SIDE) + shift) % width < 2] = -0.5
    return _between(share, (96, 62, 36), (182, 134, 88))


def _gravel(rng: np.random.Generator) -> NDArray[np.float32]:
    """Grey pebbles, each of its own shade, dark between them."""
    # A jittered grid: each pixel belongs to the nearest of the points in its own square and the eight around it.
    # Arrays are [square down, square across, pixel down, pixel across] until every pixel has its two nearest.
    pitch, count = 11, 12
    drawn = np.frombuffer(rng.bytes(3 * (count + 2) ** 2), np.uint8).astype(np.float32) * np.float32(1 / 255)
    points = drawn.reshape(3, count + 2, count + 2, 1, 1)
    pixel = np.arange(pitch, dtype=np.float32) * np.float32(1 / pitch)
    nearest = second = np.full((count, count, pitch, pitch), np.inf, np.float32)
    shade = np.zeros((count, count, pitch, pitch), np.float32)
    for down in range(3):
        for across in range(3):
            y, x, tone = points[:, down : down + count, across : across + count]
            dy, dx = y + np.float32(down - 1) - pixel[:, None], x + np.float32(across - 1) - pixel
            distance = dy * dy + dx * dx
            np.copyto(shade, tone, where=distance < nearest)
            second = np.minimum(second, np.maximum(nearest, distance))
            nearest = np.minimum(nearest, distance)
    gap = np.minimum((np.sqrt(second) - np.sqrt(nearest)) * np.float32(3.3), 1)
    pebbles = gap * (np.float32(0.35) + np.float32(0.5) * shade)
    share = pebbles.swapaxes(1, 2).reshape(count * pitch, count * pitch)[:SIDE, :SIDE]
    share = share + np.float32(0.15) * _grain(rng)
    return _between(share, (58, 56, 54), (206, 200, 192))


def _sky(rng: np.random.Generator) -> NDArray[np.float32]:
    """Blue that pales towards the bottom, with clouds."""
    clouds = np.float32(0.65) * _noise(rng, 5, 4) + np.float32(0.25) * _noise(rng, 11, 9)
    clouds += np.float32(0.1) * _noise(rng, 24, 20)
    share = np.clip((clouds - np.float32(0.45)) * np.float32(4), 0, 1) * np.float32(0.85)
    share = np.maximum(share, _ROWS * np.float32(0.35 / SIDE))
    return _between(share, (104, 160, 222), (244, 247, 252))


def _snow(rng: np.random.Generator) -> NDArray[np.float32]:
    """White drifts with bluish hollows and a few sparkles."""
    grain = _grain(rng)
    share = np.float32(0.8) * _noise(rng, 5, 4) + np.float32(0.2) * grain
    share += np.maximum(grain - np.float32(0.96), 0) * np.float32(12)
    return _between(share, (196, 206, 222), (252, 253, 255))


_PAINTERS: dict[str, Callable[[np.random.Generator], NDArray[np.float32]]] = {
    "sand": _sand,
    "grass": _grass,
    "water": _water,
    "brick": _brick,
    "wood": _wood,
    "gravel": _gravel,
    "sky": _sky,
    "snow": _snow,
}
