"""A model that is a constant: the same masks for every image, at no cost. What is left of a replica then is feeding."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from maskmill.models.inference.forms import Inference
from maskmill.models.inference.statistics import ClassScores, OwnMask, make_segment
from maskmill.models.masks.rle import encode_and_measure
from maskmill.models.resize import ImageBatch, ResizeRule, Size
from maskmill.models.segment import Segment
from maskmill.models.segmenter import ClassFeatures, Segmenter
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.bench.parts import RLE_MASKS, blobs

_SCORES = ClassScores(vocab_id=0, score=0.9, margin=0.8, top_ids=(0,), top_logits=(9.0,), background_logit=0.0)
CPU = torch.device("cpu")

_OWN = OwnMask(area=1, mask_score=0.9, stability=0.9)


class ConstantSegmenter(Segmenter):
    """Ten segments for every image, of masks that don't depend on it; their run lengths are found each time.

    Args:
        rule: how images are resized: the real model's, for resizing is part of feeding.
        device: where they are decoded, should a decoder want a GPU.
    """

    name = "constant"
    weights = "constant"
    forms = ("general",)

    def __init__(self, rule: ResizeRule, device: torch.device = CPU) -> None:
        self.rule = rule
        self.device = device

    def encode_text(self, vocabulary: Vocabulary, templates: Sequence[str]) -> Tensor:
        """One number a name."""
        return torch.ones(len(vocabulary), 1)

    def segment(
        self,
        batch: ImageBatch,
        classes: ClassFeatures,
        inference: Inference,
        *,
        top_k: int = 5,
        soft_masks: bool = False,
    ) -> list[list[Segment] | None]:
        """See `Segmenter.segment`; only the sizes of the masks are looked at."""
        return [segments(size) for size in batch.mask_sizes]


def segments(size: Size) -> list[Segment]:
    """The constant's segments in an image whose masks have this height, width."""
    return [
        make_segment(query, _SCORES, _OWN, encoded, kept=1.0, mask_size=size, mask_logits=None)
        for query, encoded in enumerate(encode_and_measure(_masks(size)))
    ]


@lru_cache(maxsize=16)
def _masks(size: Size) -> Tensor:
    return blobs(size, RLE_MASKS)
