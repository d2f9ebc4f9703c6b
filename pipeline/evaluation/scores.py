"""What an evaluation found: counts, the scores of every group, as lines and as JSON. Counting stands beside."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.evaluation.confusion import Counts, collapse, iou, mean_iou, pixel_accuracy
from maskmill.pipeline.evaluation.groups import Groups


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evaluation:
    """Predictions of one origin, held against ground truth."""

    name: str
    """Who predicted: a model, its dense CLIP features, or a label table."""

    counts: Counts
    """Confusion counts over all images."""

    images: int
    """Images with ground truth."""

    failed: int = 0
    """Of these, images without a prediction; all their pixels count as left unlabeled."""


def mean_ious(evaluation: Evaluation, groups: Groups) -> dict[str, float]:
    """Mean IoU of each group and coarser vocabulary, in [0, 1]; NaN for one whose classes don't occur."""
    found = {group.name: mean_iou(evaluation.counts, group.ids) for group in groups.means}
    return found | {one.name: mean_iou(collapse(evaluation.counts, one.parts)) for one in groups.coarser}


def object_iou(evaluation: Evaluation, groups: Groups) -> float | None:
    """IoU of all objects together against all background, in [0, 1]; None where the vocabulary doesn't tell them."""
    if groups.sides is None:
        return None
    found = float(iou(collapse(evaluation.counts, groups.sides.parts))[0])
    return None if np.isnan(found) else found


def lines(evaluations: Sequence[Evaluation], groups: Groups) -> list[str]:
    """A table for people: one row a group, one column an evaluation; mIoU and accuracy in percent."""
    sizes = {group.name: len(group.ids) for group in groups.means}
    sizes |= {one.name: len(one.parts) for one in groups.coarser}
    by_group = [mean_ious(evaluation, groups) for evaluation in evaluations]
    rows = [(f"mIoU {name} ({size})", [_percent(found[name]) for found in by_group]) for name, size in sizes.items()]
    if groups.sides is not None:
        rows.append((f"IoU {groups.sides.name}", [_percent(object_iou(one, groups)) for one in evaluations]))
    rows.append(("pixel accuracy", [_percent(pixel_accuracy(one.counts)) for one in evaluations]))
    rows.append(("pixels left unlabeled", [_percent(_unlabeled(one)) for one in evaluations]))
    rows.append(("images", [f"{one.images:,}" for one in evaluations]))
    if any(one.failed for one in evaluations):
        rows.append(("without prediction", [f"{one.failed:,}" for one in evaluations]))
    first = max(len(name) for name, _ in rows)
    widths = [max(len(one.name), 7) for one in evaluations]
    head = "  ".join([" " * first, *(one.name.rjust(width) for one, width in zip(evaluations, widths, strict=True))])
    body = [
        "  ".join([name.ljust(first), *(text.rjust(width) for text, width in zip(texts, widths, strict=True))])
        for name, texts in rows
    ]
    return [head, *body]


def to_json(evaluation: Evaluation, groups: Groups, vocabulary: Vocabulary) -> dict[str, Any]:
    """All scores as plain data; shares in [0, 1], null for what doesn't occur."""
    by_class = zip(vocabulary.names, iou(evaluation.counts).tolist(), strict=True)
    return {
        "name": evaluation.name,
        "images": evaluation.images,
        "failed": evaluation.failed,
        "mean_iou": {name: _known(value) for name, value in mean_ious(evaluation, groups).items()},
        "object_iou": object_iou(evaluation, groups),
        "pixel_accuracy": _known(pixel_accuracy(evaluation.counts)),
        "unlabeled": _known(_unlabeled(evaluation)),
        "iou": {name: _known(value) for name, value in by_class},
    }


def _unlabeled(evaluation: Evaluation) -> float:
    total = int(evaluation.counts.sum())
    return float(evaluation.counts[:, -1].sum() / total) if total else float("nan")


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _percent(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{100 * value:.2f}"
