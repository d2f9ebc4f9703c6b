"""The `semantic` form over sliding windows: sums of class x mask probability, averaged over the windows at each pixel.

The order is that of the semantic form, window by window: mask logits bilinearly to the window in the resized image, its
padding cropped, bilinearly to the masks, then sigmoid; then at each pixel of the masks the mean over the windows in
which its centre lies. Published sliding evaluations (MMSegmentation) average at the resized image's pixels and enlarge
what comes out. Where masks and resized image have one size the two are the same; where not, this is the order in which
one window gives exactly what no windows give. A window has nothing to say beyond its border, so that near it the
enlarging repeats its last pixel, as at the border of an image.

A sum is linear in the mask probabilities. All queries of all windows are hence one list, each query's mask being zero
outside its window and divided by the number of windows at each pixel; no [names, H, W] is ever built. The masks fall
into rectangles that the same windows cover, and within one only these windows' queries take part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models.inference.semantic import (
    LOWEST_LOGIT,
    add_by_class,
    classify,
    rows_at_once,
    segments_of_labels,
    sum_scores,
)
from maskmill.models.inference.statistics import ClassScores
from maskmill.models.inference.upsample import Axis, axis_of, bands_of
from maskmill.models.resize import Size
from maskmill.models.segment import Segment
from maskmill.models.windows import Windows


@dataclass(frozen=True, kw_only=True, slots=True)
class SlidingGeometry:
    """The sizes between the mask logits of an image's windows and its masks, each height, width in pixels."""

    windows: Windows
    """Where the windows lie in the resized image."""

    padded: Size
    """A window with its padding: what its mask logits cover, at a stride."""

    size: Size
    """The resized image."""

    mask_size: Size
    """The masks."""


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """A run of rows (or columns) of the masks that the same windows cover."""

    start: int
    """The first."""

    stop: int
    """The one after the last."""

    windows: tuple[tuple[int, Axis], ...]
    """Those windows, by their place along this axis, each with its map from mask logits to these rows."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Sums of mask probability over the pixels of one rectangle."""

    windows: Tensor
    """int64 [K]: the windows whose queries take part."""

    ids: Tensor
    """int64 [C]: the classes of its pixels, ascending."""

    totals: Tensor
    """float64 [C, K, Q]: over the pixels of each class, divided by K."""


@torch.no_grad()
def sliding_segments(
    mask_logits: Sequence[Tensor], class_logits: Sequence[Tensor], geometry: SlidingGeometry, *, top_k: int
) -> list[Segment]:
    """One segment for each class that has pixels; together they cover the image.

    Fields of segments follow from the averaged sums as `models.inference.semantic` says. It computes in float64 if the
    logits are float64, else in float32. Beyond the logits, memory is that of the semantic form for the few windows that
    cover a pixel (four, nine where two are shifted together).

    Args:
        mask_logits: of each window, row by row of the grid, [Q, h, w] at the model's stride.
        class_logits: of each window, [Q, N + 1], background last, before softmax.
        geometry: sizes.
        top_k: classes and logits to list for each segment.

    Returns:
        Segments in ascending order of vocabulary ids; query is -1, and mask_score, stability and kept are None.

    Raises:
        FloatingPointError: a logit isn't finite, so that no segment of this image could be trusted.
    """
    dtype = torch.float64 if torch.float64 in (mask_logits[0].dtype, class_logits[0].dtype) else torch.float32
    masks, classes = ([logits.to(dtype) for logits in some] for some in (mask_logits, class_logits))
    if not bool(torch.stack([logits.isfinite().all() for logits in (*masks, *classes)]).all()):
        raise FloatingPointError("logits of a window that are not finite")
    queries, names = len(classes[0]), classes[0].shape[1] - 1
    labels, sums = _classify(masks, classes, geometry)

    def scores(ids: Tensor, areas: Tensor) -> list[ClassScores]:
        means = torch.zeros(len(ids), names + 1, dtype=torch.float64, device=ids.device)
        for window, totals in enumerate(_by_window(sums, ids, (len(masks), queries))):
            means += (totals / areas[:, None]) @ classes[window].double().softmax(1)
        return sum_scores(means, top_k, ids)

    return segments_of_labels(labels, names, scores, classes=names + 1)


def _classify(
    masks: Sequence[Tensor], classes: Sequence[Tensor], geometry: SlidingGeometry
) -> tuple[Tensor, list[_Sums]]:
    """The class of each pixel, int64 [H, W], and the sums of each rectangle.

    Args:
        masks: mask logits [Q, h, w] of each window.
        classes: class logits [Q, N + 1] of each.
        geometry: sizes.
    """
    like = masks[0]
    labels = torch.empty(geometry.mask_size, dtype=torch.int64, device=like.device)
    rows, columns = spans(geometry, (like.shape[1], like.shape[2]), like.dtype, like.device)
    beside, sums = len(geometry.windows.lefts), []
    for down in rows:
        for across in columns:
            pairs = [(i * beside + j, row, column) for i, row in down.windows for j, column in across.windows]
            windows = torch.tensor([window for window, _, _ in pairs], device=like.device)
            weights = _weights(torch.cat([classes[window] for window, _, _ in pairs]))
            step = rows_at_once(weights, across.stop - across.start)
            parts = [bands_of(masks[window], row, column, step) for window, row, column in pairs]
            part = labels[down.start : down.stop, across.start : across.stop]
            for bands in zip(*parts, strict=True):
                band = torch.cat([logits for _, logits in bands]).clamp_min_(LOWEST_LOGIT).sigmoid_()
                found = classify(weights, band)
                part[bands[0][0]] = found
                ids = torch.bincount(found.flatten()).nonzero().squeeze(1)
                totals = torch.zeros(len(ids), len(band), dtype=torch.float64, device=band.device)
                add_by_class(totals, torch.searchsorted(ids, found.flatten()), band.flatten(1))
                sums.append(_Sums(windows, ids, totals.view(len(ids), len(pairs), -1) / len(pairs)))
    return labels, sums


def _weights(logits: Tensor) -> Tensor:
    """Class probabilities of queries [Q, N + 1] without background's, times a common factor: [N, Q]."""
    names = logits.log_softmax(1)[:, :-1]
    return (names - names.max()).exp().T.contiguous()


def _by_window(sums: Sequence[_Sums], ids: Tensor, shape: tuple[int, int]) -> Tensor:
    """What the queries of each window add to some classes, float64 [windows, C, Q].

    Args:
        sums: of all rectangles.
        ids: int64 [C], ascending.
        shape: windows, Q.
    """
    found = torch.zeros(shape[0], len(ids), shape[1], dtype=torch.float64, device=ids.device)
    for one in sums:
        places = torch.searchsorted(ids, one.ids).clamp_max(len(ids) - 1)
        asked = (ids[places] == one.ids).nonzero().squeeze(1)
        # No window and no class is there twice, so that the order of adding is fixed.
        found[one.windows[:, None], places[asked]] += one.totals[asked].transpose(0, 1)
    return found


def spans(
    geometry: SlidingGeometry, cells: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """The masks' rows, and their columns, in runs that the same windows cover.

    Args:
        geometry: sizes.
        cells: height, width of the mask logits.
        dtype: of the maps.
        device: where they shall be.
    """
    windows = geometry.windows
    down, across = zip(windows.size, geometry.padded, geometry.size, geometry.mask_size, strict=True)
    return (
        _spans(windows.tops, (cells[0], *down), dtype, device),
        _spans(windows.lefts, (cells[1], *across), dtype, device),
    )


@lru_cache(maxsize=64)
def _spans(
    starts: tuple[int, ...], sizes: tuple[int, int, int, int, int], dtype: torch.dtype, device: torch.device
) -> tuple[Span, ...]:
    """The spans of one axis between its sizes: of a window's logits, window, padded window, resized image, masks."""
    cells, window, padded, length, out = sizes
    # Kept beyond this call, so it must not be a tensor of inference mode even when this call is in it.
    with torch.inference_mode(False), torch.no_grad():
        units = torch.eye(cells, dtype=torch.float64)[None]
        spread = functional.interpolate(units, size=padded, mode="linear", align_corners=False)[..., :window]
        maps = []
        for start in starts:
            # Linear enlarging mixes neighbours: beyond its border a window's neighbour is its last pixel.
            whole = functional.pad(spread, (start, length - start - window), mode="replicate")
            maps.append(functional.interpolate(whole, size=out, mode="linear", align_corners=False)[0].T)
        found = []
        for covering, run in groupby(range(out), lambda row: _covering(starts, window, length, out, row)):
            rows = list(run)
            parts = tuple((i, axis_of(maps[i][rows], dtype, device)) for i in covering)
            found.append(Span(rows[0], rows[-1] + 1, parts))
    return tuple(found)


def _covering(starts: tuple[int, ...], window: int, length: int, out: int, row: int) -> tuple[int, ...]:
    """The windows in which the centre of a row of the masks lies, (row + 1/2) x length / out in the resized image."""
    centre = (2 * row + 1) * length
    return tuple(i for i, start in enumerate(starts) if 2 * out * start <= centre < 2 * out * (start + window))
