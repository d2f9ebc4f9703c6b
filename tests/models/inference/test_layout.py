"""Every kept query has its place, and what is computed together is of one size and bounded."""

import numpy as np
import pytest

from maskmill.models.inference.layout import Layout, layout_of
from maskmill.models.inference.upsample import Geometry

SIZES = [(20, 30), (40, 20), (16, 16)]


def drawn(seed: int, elements: int) -> tuple[Layout, np.ndarray, list[Geometry]]:
    draw = np.random.default_rng(seed)
    counts = draw.integers(1, 12, size=draw.integers(1, 30))
    owner = np.repeat(np.arange(len(counts)), counts)
    geometries = [
        Geometry(padded=(48, 48), size=(40, 40), mask_size=SIZES[kind]) for kind in draw.integers(0, 3, len(counts))
    ]
    return layout_of(np.arange(len(owner)) * 3, owner, geometries, elements), owner, geometries


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("elements", [1, 40_000, 1 << 30])
def test_each_pair_is_in_one_slot_of_a_plane_of_its_image(seed: int, elements: int) -> None:
    layout, owner, geometries = drawn(seed, elements)
    assert np.array_equal(layout.slots[layout.slot], np.arange(len(owner)))
    assert (layout.slots >= 0).sum() == len(owner)
    assert len(set(zip(layout.plane.tolist(), layout.label.tolist(), strict=True))) == len(owner)
    assert layout.label.max() < layout.labels - 1
    plane_of = {}
    for pair, plane in enumerate(layout.plane.tolist()):
        assert plane_of.setdefault(owner[pair], plane) == plane
        assert layout.heights[plane] == geometries[owner[pair]].mask_size[0]
    assert sorted(plane_of.values()) == list(range(len(geometries)))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("elements", [1, 40_000, 1 << 30])
def test_chunks_are_all_planes_in_order_each_of_one_geometry_and_bounded(seed: int, elements: int) -> None:
    layout, owner, geometries = drawn(seed, elements)
    counts = np.bincount(owner)
    plane, start, pixel = 0, 0, 0
    for chunk in layout.chunks:
        assert (chunk.planes.start, chunk.start, chunk.pixels.start) == (plane, start, pixel)
        assert chunk.size == 1 or chunk.size * chunk.slots * 48 * 48 <= elements
        plane, start, pixel = chunk.planes.stop, start + chunk.size * chunk.slots, chunk.pixels.stop
        slots = layout.slots[chunk.start : start].reshape(chunk.size, chunk.slots)
        first = np.where(slots < 0, ~slots, slots)
        for row in range(chunk.size):
            images = set(owner[first[row]].tolist())
            assert len(images) == 1, "what fills up a plane is of its own image"
            (image,) = images
            assert geometries[image] == chunk.geometry
            assert (slots[row] >= 0).sum() == counts[image] >= chunk.slots / 2
            assert layout.firsts[chunk.planes.start + row] == chunk.pixels.start + row * layout.pixels[plane - 1]
    assert (plane, start, pixel) == (len(counts), len(layout.slots), layout.pixels.sum())


def test_equal_images_keep_their_order() -> None:
    geometry = Geometry(padded=(48, 48), size=(40, 40), mask_size=(20, 30))
    layout = layout_of(np.arange(6), np.array([0, 0, 1, 1, 2, 2]), [geometry] * 3, 1 << 30)
    assert layout.plane.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(layout.chunks) == 1
