"""What a segmenter says about one image: segments. Plain data; masks stay run-length encoded until somebody looks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmill.models.masks import rle


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One mask of one image with its class logits."""

    query: int
    """Index of the query that proposed the mask; -1 in semantic form, where no single query did."""

    vocab_id: int
    """Vocabulary id of the top class."""

    score: float
    """Softmax probability of the top class, in [0, 1]; background is part of the softmax."""

    margin: float
    """Score minus the probability of the second class; equal to the score where the vocabulary has one name."""

    top_ids: tuple[int, ...]
    """Vocabulary ids of the k classes with the highest logits, descending; fewer where the vocabulary is smaller."""

    top_logits: tuple[float, ...]
    """Raw logits of `top_ids`, before softmax, descending."""

    background_logit: float | None
    """Raw logit of the learned background class; None where the model has none, and no softmax includes it."""

    mask_score: float | None
    """Mean foreground probability inside the query's own mask, in [0, 1]; None in semantic form."""

    stability: float | None
    """IoU of the query's own mask cut at logit +1 and at logit -1, at mask size; None in semantic form."""

    kept: float | None
    """Share of the query's own mask that the segment holds, in [0, 1]; None in semantic form."""

    area: int
    """Pixels of the mask, at mask size."""

    bbox: tuple[int, int, int, int]
    """x, y, width, height of the mask's bounding box, in mask pixels."""

    rle: bytes
    """COCO compressed run lengths of the mask."""

    mask_size: tuple[int, int]
    """Height, width of the mask in pixels."""

    agreement: float | None = None
    """Mean IoU of the mask with those of other views of the image, in [0, 1]; None unless asked for. The definition
    stands in models/agreement/segmenter.py."""

    mask_logits: NDArray[np.int8] | None = None
    """Quantised mask logits [h, w] at the model's stride, padding cropped: round(clip(logit, -16, 16) x 127 / 16)."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The mask as bool [mask_height, mask_width]."""
        return rle.decode(self.rle, self.mask_size)
