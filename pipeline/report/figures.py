"""Counts drawn segments and samples for a report's charts: histograms, one map, one table of classes. Reads nothing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmill.pipeline.report.sample import Sampled

BINS = 24
"""Of the map, each way."""

SHARES = (-4.0, 0.0)
"""Powers of ten between which the share of a segment is counted, eight bins a power: 0.01 % to the whole image."""

MOST_SEGMENTS = 40
"""Segments an image that have a bar of their own; the last bar holds those with as many or more."""


def figures(sampled: Sampled) -> dict[str, Any]:
    """The numbers of all charts."""
    scores = np.nan_to_num(sampled.segments["score"])
    stability = sampled.segments["stability"]
    other, name = (stability, "stability") if np.isfinite(stability).any() else (sampled.segments["margin"], "margin")
    other = np.nan_to_num(other)
    grid, _, _ = np.histogram2d(scores, other, bins=BINS, range=((0, 1), (0, 1)))
    return {
        "map": {"against": name, "counts": grid.astype(int).tolist()},
        "score": _histogram(scores, np.linspace(0, 1, BINS + 1)),
        "area": _histogram(np.maximum(sampled.share, 1.01 * 10 ** SHARES[0]), np.logspace(*SHARES, 33)),
        "segments": _segments_an_image(sampled),
        "medians": {
            "score": _median(scores),
            name: _median(other),
            "area": _median(sampled.share),
            "segments": _median(sampled.passing[sampled.ok]),
        },
    }


def classes(sampled: Sampled, size: int) -> dict[str, NDArray[Any]]:
    """Of each of `size` vocabulary ids what the drawn samples say: images, segments, share of pixels, means."""
    ids, areas = sampled.segments["vocab_id"], sampled.segments["area"]
    known = (ids >= 0) & (ids < size)
    ids, images = ids[known], sampled.image[known]
    segments = np.bincount(ids, minlength=size)

    def mean(column: NDArray[Any]) -> NDArray[np.float64]:
        values = column[known].astype(np.float64)
        sums = np.bincount(ids, values, size)
        found: NDArray[np.float64] = np.divide(sums, segments, out=np.full(size, np.nan), where=segments > 0)
        return found

    pairs = np.unique(images * np.int64(size) + ids)
    return {
        "segments": segments,
        "images": np.bincount(pairs % size, minlength=size),
        "pixels": np.bincount(ids, areas[known], size) / max(1, int(sampled.pixels.sum())),
        "score": mean(sampled.segments["score"]),
        "stability": mean(sampled.segments["stability"]),
    }


def _segments_an_image(sampled: Sampled) -> list[int]:
    counts = np.minimum(sampled.passing[sampled.ok], MOST_SEGMENTS)
    histogram: list[int] = np.bincount(counts).tolist()
    return histogram


def _histogram(values: NDArray[Any], edges: NDArray[np.float64]) -> list[int]:
    counts: list[int] = np.histogram(values, edges)[0].tolist()
    return counts


def _median(values: NDArray[Any]) -> float | None:
    return round(float(np.median(values)), 5) if len(values) else None
