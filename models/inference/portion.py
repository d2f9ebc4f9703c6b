"""Images that go from logits to segments together: the device measures, the host decides, the device writes.

Which images go together, and which are looked at at all, is for `batch` to say.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskmill.models.inference.forms import GeneralInference, QueriesInference
from maskmill.models.inference.general import merged
from maskmill.models.inference.layout import Chunk, Numbers, layout_of
from maskmill.models.inference.planes import Measure, Planes
from maskmill.models.inference.statistics import quantise, ranked
from maskmill.models.inference.transfer import fetch, place
from maskmill.models.inference.upsample import GPU_BAND_ELEMENTS, Geometry
from maskmill.models.masks.label_planes import NONE, plane_runs, read, written
from maskmill.models.masks.rle import EncodedMask
from maskmill.models.segment import Segment

Mask = NDArray[np.bool_]

CLASS_ELEMENTS = 1 << 27
"""Elements of class logits that are looked at together: 512 MB of float32."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Numbers:
    """What the device measured of each pair, a kept query of an image. Columns of one table."""

    ids: list[list[int]]
    """Names with the highest logits, by pair."""

    logits: list[list[float]]
    """Their logits, by pair."""

    scalars: list[list[float]]
    """Score, margin, background logit, own area, own area at logit 1, at logit -1, sum of probabilities, by pair."""

    area: NDArray[np.float64]
    """[K], pixels of the own mask."""

    held: NDArray[np.float64]
    """[K], pixels that the pair holds of it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Decided:
    """What the host makes of that: S segments, by image, then by the query that leads."""

    leaders: list[int]
    """[S], the pair that a segment's fields are from."""

    members: list[list[int]]
    """[S], the pairs whose pixels it has."""

    bounds: list[int]
    """[images + 1], which segments are an image's."""


class Portion:
    """Some images of a batch.

    Args:
        mask_logits: [B, Q, h, w] at the model's stride.
        class_logits: float32 or float64 [B, Q, N + 1], background last: the type in which all is computed.
        images: n places in the batch.
        chosen: bool [n, Q], the queries that are kept; at least one of each image.
        geometries: sizes of each image.
        inference: form and thresholds.
        top_k: classes and logits to list for each segment.
        measure: as `Planes` takes it.
    """

    def __init__(
        self,
        mask_logits: Tensor,
        class_logits: Tensor,
        *,
        images: Sequence[int],
        chosen: Mask,
        geometries: Sequence[Geometry],
        inference: GeneralInference | QueriesInference,
        top_k: int,
        measure: Measure,
    ) -> None:
        image, self._queries = chosen.nonzero()
        self._bounds = [0, *np.cumsum(chosen.sum(1)).tolist()]
        self._geometries, self._inference = geometries, inference
        queries = chosen.shape[1]
        # Where nothing competes, each query has a plane of its own.
        alone = isinstance(inference, QueriesInference)
        self._layout = layout = layout_of(
            np.array(images)[image] * queries + self._queries,
            np.arange(len(image)) if alone else image,
            [geometries[index] for index in image.tolist()] if alone else geometries,
            GPU_BAND_ELEMENTS,
        )
        self._key = layout.plane * layout.labels + layout.label
        self._device, self._dtype = mask_logits.device, class_logits.dtype
        rows, slots, slot, key, firsts = place(
            [layout.rows, layout.slots, layout.slot, self._key, layout.firsts], self._device
        )
        self._mask_logits, self._rows = mask_logits.flatten(0, 1), rows
        classes = _classes(class_logits.flatten(0, 1), rows, top_k)
        self._planes = Planes(
            self._mask_logits,
            self._dtype,
            layout,
            rows=rows,
            slots=slots,
            scores=classes[:, -3].to(self._dtype),
            measure=measure,
        )
        self._runs = plane_runs(self._planes.labels, firsts)
        held = self._runs.pixels(len(firsts), layout.labels).view(-1)[key].double()
        self._table = torch.cat((classes, self._planes.tallies[slot], held[:, None]), dim=1)

    def segments(self, stuff: Mask, *, soft_masks: bool) -> list[list[Segment]]:
        """The segments of each image.

        Args:
            stuff: [N], classes whose segments merge in general form.
            soft_masks: keep quantised mask logits.
        """
        numbers = self._numbers()
        decided = self._decided(numbers, stuff)
        if not decided.leaders:
            return [[] for _ in self._geometries]
        encoded, kept, soft = self._written(numbers, decided, soft_masks=soft_masks)
        found: list[list[Segment]] = []
        queries = self._queries.tolist()
        for image, geometry in enumerate(self._geometries):
            ours: list[Segment] = []
            for index in range(decided.bounds[image], decided.bounds[image + 1]):
                pair, mask = decided.leaders[index], encoded[index]
                score, margin, background, area, inner, outer, foreground = numbers.scalars[pair]
                ours.append(
                    Segment(
                        query=queries[pair],
                        vocab_id=numbers.ids[pair][0],
                        score=score,
                        margin=max(0.0, margin),
                        top_ids=tuple(numbers.ids[pair]),
                        top_logits=tuple(numbers.logits[pair]),
                        background_logit=background,
                        mask_score=foreground / area,
                        stability=inner / outer,
                        kept=kept[index],
                        area=mask.area,
                        bbox=mask.bbox,
                        rle=mask.rle,
                        mask_size=geometry.mask_size,
                        mask_logits=soft.get(index),
                    )
                )
            found.append(ours)
        return found

    def _numbers(self) -> _Numbers:
        (table,) = fetch([self._table])
        top = (table.shape[1] - 8) // 2
        return _Numbers(
            ids=table[:, :top].astype(np.int64).tolist(),
            logits=table[:, top : 2 * top].tolist(),
            scalars=table[:, 2 * top : -1].tolist(),
            area=table[:, -5],
            held=table[:, -1],
        )

    def _decided(self, numbers: _Numbers, stuff: Mask) -> _Decided:
        leaders: list[int] = []
        members: list[list[int]] = []
        bounds = [0]
        if isinstance(self._inference, GeneralInference):
            there = numbers.held > 0
            share = np.divide(numbers.held, numbers.area, out=np.zeros_like(numbers.held), where=there)
            stays = (there & (share >= self._inference.overlap_threshold)).nonzero()[0]
            held, ids = numbers.held.tolist(), [top[0] for top in numbers.ids]
            for alive in np.split(stays, np.searchsorted(stays, self._bounds[1:-1])):
                groups = merged(alive.tolist(), ids, held, stuff)
                leaders += groups
                members += groups.values()
                bounds.append(len(leaders))
        else:
            stays = (numbers.area > 0).nonzero()[0]
            leaders = stays.tolist()
            members = [[pair] for pair in leaders]
            bounds = [0, *np.searchsorted(stays, self._bounds[1:]).tolist()]
        return _Decided(leaders=leaders, members=members, bounds=bounds)

    def _written(
        self, numbers: _Numbers, decided: _Decided, *, soft_masks: bool
    ) -> tuple[list[EncodedMask], list[float], dict[int, NDArray[np.int8]]]:
        """Encoded masks and shares of the own mask that were kept, by segment, and soft masks if asked for."""
        layout, leaders = self._layout, np.array(decided.leaders)
        sizes = np.array([len(members) for members in decided.members])
        joined = np.concatenate([np.array(members) for members in decided.members])
        of_label = np.full((len(layout.firsts), layout.labels), NONE)
        of_label.reshape(-1)[self._key[joined]] = np.repeat(np.arange(len(leaders)), sizes)
        plane = layout.plane[leaders]
        # By planes, so that those of one chunk stand together.
        order = np.argsort(plane, kind="stable")
        mixed = order[sizes[order] > 1]
        asked = order if soft_masks else order[:0]
        segments, firsts, pixels, heights, mixed_on, mixed_planes, mixed_pairs, asked_pairs = place(
            [
                of_label,
                layout.firsts[plane],
                layout.pixels[plane],
                layout.heights[plane],
                mixed,
                plane[mixed],
                leaders[mixed],
                leaders[asked],
            ],
            self._device,
        )
        text = written(
            self._runs, segments, firsts=firsts, pixels=pixels, heights=heights, longest=int(layout.pixels.max())
        )
        shared = [
            self._planes.shared(
                chunk,
                mixed_planes[part] - chunk.planes.start,
                mixed_pairs[part],
                segments[mixed_planes[part]] == mixed_on[part, None],
            )
            for chunk, part in _parts(layout.chunks, plane[mixed])
        ]
        soft = [
            quantise(
                self._mask_logits[self._rows[asked_pairs[part]]].to(self._dtype),
                chunk.geometry.padded,
                chunk.geometry.size,
            )
            for chunk, part in _parts(layout.chunks, plane[asked])
        ]
        arrays = fetch([text.numbers, *shared, text.text, *soft])
        kept = numbers.held[leaders]
        kept[mixed] = np.concatenate([kept[:0], *arrays[1 : 1 + len(shared)]])
        kept /= numbers.area[leaders]
        areas = np.add.reduceat(numbers.held[joined], np.cumsum(sizes) - sizes).astype(np.int64)
        of_segment = [one for array in arrays[2 + len(shared) :] for one in array]
        return (
            read(arrays[1 + len(shared)], arrays[0], areas.tolist()),
            kept.tolist(),
            dict(zip(asked.tolist(), of_segment, strict=True)),
        )


def _parts(chunks: Sequence[Chunk], planes: Numbers) -> Iterator[tuple[Chunk, slice]]:
    """The chunks that some planes, in ascending order, are of, and which of them are."""
    for chunk in chunks:
        start, stop = np.searchsorted(planes, (chunk.planes.start, chunk.planes.stop)).tolist()
        if start < stop:
            yield chunk, slice(start, stop)


def _classes(class_logits: Tensor, rows: Tensor, top_k: int) -> Tensor:
    """Of rows, float64 [K, 2k + 3]: names with the highest logits, these logits, score, margin, background logit."""
    told = []
    for part in torch.split(rows, max(1, CLASS_ELEMENTS // class_logits.shape[1])):
        logits = class_logits[part]
        ranks = ranked(logits, top_k)
        scalars = torch.stack((ranks.scores, ranks.margins, logits[:, -1]), dim=1)
        told.append(torch.cat((ranks.ids.double(), ranks.logits.double(), scalars.double()), dim=1))
    return torch.cat(told)
