"""Which label planes a batch has and what is computed together. Whole numbers on the host; no tensor comes near it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmill.models.inference.upsample import Geometry, largest

Numbers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Planes of one geometry, one after the other, that go through the device together."""

    geometry: Geometry
    """Theirs."""

    planes: slice
    """Which planes."""

    slots: int
    """Masks of each plane, those of the fullest one; the others are padded."""

    start: int
    """Its first place in `Layout.slots`; it has planes x slots of them."""

    pixels: slice
    """Its part of all planes' pixels."""

    @property
    def size(self) -> int:
        """How many planes."""
        count: int = self.planes.stop - self.planes.start
        return count


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Layout:
    """The kept queries of some images, the label planes on which they compete, and the order of the work.

    A pair is a kept query of an image; pairs are numbered by image, then by query. A plane is what pairs of one image
    share; of the planes those of one geometry stand together, the fullest first.
    """

    rows: Numbers
    """[K], each pair's row among all queries of all images."""

    chunks: tuple[Chunk, ...]
    """The work, in the order of planes."""

    slots: Numbers
    """[all chunks' planes x slots], the pair in each; a place that only fills up has ~(the plane's first pair)."""

    slot: Numbers
    """[K], where in `slots` each pair is."""

    plane: Numbers
    """[K], each pair's plane."""

    label: Numbers
    """[K], which label of its plane stands for each pair."""

    labels: int
    """Labels that a plane may have: one for each slot of the fullest plane, and the last for nobody."""

    firsts: Numbers
    """[M], where each plane begins among all pixels."""

    pixels: Numbers
    """[M], how many each has."""

    heights: Numbers
    """[M]"""


def chunks_of(geometries: Sequence[Geometry], counts: Numbers, order: Numbers, elements: int) -> Iterator[Chunk]:
    """Cut planes into chunks.

    Args:
        geometries: of each plane.
        counts: [M], pairs of each plane, 1 or more.
        order: [M], the planes as the work shall take them: equal geometries together, the fullest first.
        elements: of masks that a chunk may have, unless one plane alone has more.
    """
    first, start, pixel = 0, 0, 0
    while first < len(order):
        geometry, slots = geometries[order[first]], int(counts[order[first]])
        most = max(1, elements // (slots * largest(geometry)))
        stop = first + 1
        # What is padded to more than twice its masks waits for a chunk of its own.
        while (
            stop < min(len(order), first + most)
            and geometries[order[stop]] == geometry
            and 2 * counts[order[stop]] >= slots
        ):
            stop += 1
        pixels = (stop - first) * geometry.mask_size[0] * geometry.mask_size[1]
        yield Chunk(
            geometry=geometry,
            planes=slice(first, stop),
            slots=slots,
            start=start,
            pixels=slice(pixel, pixel + pixels),
        )
        first, start, pixel = stop, start + (stop - first) * slots, pixel + pixels


def layout_of(rows: Numbers, owner: Numbers, geometries: Sequence[Geometry], elements: int) -> Layout:
    """The layout of kept queries.

    Args:
        rows: [K], as in `Layout`, 1 or more.
        owner: [K], ascending: the plane of each, in whatever numbers, without gaps from 0.
        geometries: [M], of each of these planes.
        elements: of masks that are made together.
    """
    counts = np.bincount(owner)
    begins = np.cumsum(counts) - counts
    kinds = {geometry: number for number, geometry in enumerate(dict.fromkeys(geometries))}
    # Of equally full planes of one geometry the first first: the sort is stable.
    order = np.lexsort((-counts, np.array([kinds[geometry] for geometry in geometries])))
    chunks = tuple(chunks_of(geometries, counts, order, elements))
    slots = []
    slot, plane, label = (np.empty(len(rows), np.int64) for _ in range(3))
    for chunk in chunks:
        ours = order[chunk.planes]
        place = np.arange(chunk.slots)
        pairs = begins[ours, None] + place
        real = place < counts[ours, None]
        slots.append(np.where(real, pairs, ~begins[ours, None]).reshape(-1))
        taken, (of, at) = pairs[real], real.nonzero()
        slot[taken] = chunk.start + of * chunk.slots + at
        plane[taken] = chunk.planes.start + of
        label[taken] = at
    sizes = np.array([geometries[index].mask_size for index in order])
    pixels = sizes.prod(axis=1)
    return Layout(
        rows=rows,
        chunks=chunks,
        slots=np.concatenate(slots),
        slot=slot,
        plane=plane,
        label=label,
        labels=int(counts.max()) + 1,
        firsts=np.cumsum(pixels) - pixels,
        pixels=pixels,
        heights=sizes[:, 0],
    )
