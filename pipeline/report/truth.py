"""Holds one sample's segments against its ground truth: what a report says of an image beside its labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmill.pipeline.evaluation.confusion import count, iou, mean_iou, pixel_accuracy
from maskmill.pipeline.evaluation.table import painted


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Comparison:
    """How right the labels of one image are."""

    iou: float
    """Mean IoU over the classes that its truth or its labels have, in [0, 1]; NaN without labeled truth."""

    accuracy: float
    """Share of the truth's pixels that have their class, in [0, 1]; NaN without any."""

    by_class: Mapping[int, float]
    """Vocabulary id -> IoU in this image, of each class that its truth or its labels have."""


def compare(row: Mapping[str, Any], shown: Sequence[int], truth: NDArray[np.int32], classes: int) -> Comparison:
    """Hold segments of a row against the ground truth, by the rules of `evaluate`.

    Args:
        row: of the label table, with mask_height, mask_width, segments and masks.
        shown: which of its segments count.
        truth: [height, width] vocabulary ids, negative where there is none.
        classes: size of the vocabulary.

    Raises:
        ValueError: a mask is damaged.
    """
    kept = {name: [row[name][place] for place in shown] for name in ("segments", "masks")}
    predicted = painted({**row, **kept}, truth.shape, classes)
    # Counted over the classes of this image alone: a vocabulary may have 20,000.
    present = np.unique(np.concatenate([truth[truth >= 0], predicted[(truth >= 0) & (predicted < classes)]]))
    numbered = np.where(truth >= 0, np.searchsorted(present, truth), -1)
    counts = count(numbered, np.searchsorted(present, predicted), len(present))
    return Comparison(
        iou=mean_iou(counts),
        accuracy=pixel_accuracy(counts),
        by_class=dict(zip(present.tolist(), iou(counts).tolist(), strict=True)),
    )
