"""Confusion counts of class maps and the scores that follow from them. Plain numpy; who predicted is not known here."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
"""[N, N + 1]: pixels by true class (row) and predicted class (column); the last column counts pixels left unlabeled."""


def count(truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> Counts:
    """Confusion counts of one image.

    Args:
        truth: [h, w] class ids; pixels with a negative id are left out.
        predicted: [h, w] class ids; `classes` where nothing was predicted, which is always wrong.
        classes: N.

    Returns:
        int64 [N, N + 1].
    """
    assert truth.shape == predicted.shape, f"{truth.shape} pixels of truth, {predicted.shape} predicted"
    known = truth >= 0
    pairs = truth[known].astype(np.int64) * (classes + 1) + predicted[known]
    return np.bincount(pairs, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def iou(counts: Counts) -> NDArray[np.float64]:
    """Intersection over union of each class, [N]; NaN for a class that is neither in the truth nor predicted.

    A pixel that was left unlabeled is missing from its class's intersection, and in no other class's union.
    """
    hits = np.diagonal(counts).astype(np.float64)
    union = counts.sum(axis=1) + counts[:, :-1].sum(axis=0) - hits
    found: NDArray[np.float64] = np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)
    return found


def mean_iou(counts: Counts, ids: Sequence[int] | None = None) -> float:
    """Mean IoU over classes, all or those of `ids`; classes without a union are left out. NaN if all are.

    Sources: PASCAL VOC; the rule on absent classes is detectron2's, with which SAN's numbers were made: a class that
    was predicted but isn't in the truth counts with 0.
    """
    chosen = iou(counts) if ids is None else iou(counts)[list(ids)]
    present = chosen[~np.isnan(chosen)]
    return float(present.mean()) if len(present) else float("nan")


def pixel_accuracy(counts: Counts) -> float:
    """Share of labeled pixels that have their class, in [0, 1]; NaN if there are none."""
    total = int(counts.sum())
    return float(np.diagonal(counts).sum() / total) if total else float("nan")


def collapse(counts: Counts, parts: Sequence[Sequence[int]]) -> Counts:
    """The counts of a coarser vocabulary, where confusion within a part is no confusion.

    Args:
        counts: of N classes.
        parts: the coarser classes, each a list of old ids. Pixels of true classes in no part are left out; pixels
            predicted as one count as unlabeled.

    Returns:
        int64 [len(parts), len(parts) + 1].
    """
    classes = len(counts)
    merge = np.zeros((classes, len(parts)), np.int64)
    for part, ids in enumerate(parts):
        merge[list(ids), part] = 1
    rows = merge.T @ counts
    inside = rows[:, :-1] @ merge
    return np.concatenate([inside, rows.sum(axis=1, keepdims=True) - inside.sum(axis=1, keepdims=True)], axis=1)
