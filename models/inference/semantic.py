"""The `semantic` form: every pixel has one class, every class present has one segment. No query owns a segment.

Source: MaskFormer (NeurIPS 2021), section 3.4, semantic inference, as SAN (CVPR 2023), section 3.3, uses it: pixel p
takes the name c with the highest sum over queries i of p_i(c) x m_i[p]; the softmax includes background, which is left
out of the choice and not made up for.
"""

import torch
from torch import Tensor

from models.inference.statistics import class_scores
from models.inference.upsample import Geometry, bands
from models.masks.rle import encode_and_measure
from models.segment import Segment

CPU_SUM_ELEMENTS = 1 << 20
"""Elements of names x pixels that exist at once on a CPU."""

GPU_SUM_ELEMENTS = 1 << 27
"""Elements of names x pixels that exist at once on an accelerator: 512 MB of float32."""

LOWEST_LOGIT = -80.0
"""Mask logits are raised to this, sigmoid 2e-35, so that no pixel's sums are all zero in float32."""


def semantic_segments(mask_logits: Tensor, class_logits: Tensor, geometry: Geometry, *, top_k: int) -> list[Segment]:
    """One segment for each class that has pixels; together they cover the image.

    A class's logit in a segment is ln of the mean over the segment's pixels of its sum, background's likewise; score
    and margin follow from the softmax of these. As the sum is linear in the mask probabilities, their means over each
    segment are enough: no sum of any other class is ever kept.

    Memory beyond the masks' size: a band of the queries' masks and a chunk of names x pixels, both bounded whatever the
    vocabulary; queries x names twice in float64 (34 MB for 21,000 names and 100 queries). Time: queries x names x
    pixels multiplications.

    Args:
        mask_logits: [Q, h, w] at the model's stride, finite.
        class_logits: [Q, N + 1], background last, finite.
        geometry: sizes between the two.
        top_k: classes and logits to list for each segment.

    Returns:
        Segments in ascending order of vocabulary ids; query is -1, and mask_score, stability and kept are None.
    """
    labels, totals = _classify(mask_logits, class_logits.softmax(1)[:, :-1].T.contiguous(), geometry)
    areas = torch.bincount(labels.flatten(), minlength=len(totals))
    present = areas.nonzero().squeeze(1)
    probabilities = class_logits.double().softmax(1)
    segments: list[Segment] = []
    at_once = max(1, _chunk(labels.device) // max(probabilities.shape[1], labels.numel()))
    for ids in torch.split(present, at_once):
        sums = (totals[ids] / areas[ids, None]) @ probabilities
        scores = class_scores(sums.clamp_min(torch.finfo(sums.dtype).tiny).log(), top_k, given=ids)
        encoded = encode_and_measure(labels == ids[:, None, None])
        for classes, mask in zip(scores, encoded, strict=True):
            segments.append(
                Segment(
                    query=-1,
                    vocab_id=classes.vocab_id,
                    score=classes.score,
                    margin=classes.margin,
                    top_ids=classes.top_ids,
                    top_logits=classes.top_logits,
                    background_logit=classes.background_logit,
                    mask_score=None,
                    stability=None,
                    kept=None,
                    area=mask.area,
                    bbox=mask.bbox,
                    rle=mask.rle,
                    mask_size=geometry.mask_size,
                )
            )
    return segments


def _chunk(device: torch.device) -> int:
    return CPU_SUM_ELEMENTS if device.type == "cpu" else GPU_SUM_ELEMENTS


def _classify(mask_logits: Tensor, probabilities: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """The class of each pixel, int64 [H, W], and each class's sums of mask probability over its pixels, float64 [N, Q].

    Args:
        mask_logits: [Q, h, w].
        probabilities: of the names, [N, Q].
        geometry: sizes.
    """
    names, queries = probabilities.shape
    labels = torch.empty(geometry.mask_size, dtype=torch.int64, device=mask_logits.device)
    totals = torch.zeros(names, queries, dtype=torch.float64, device=mask_logits.device)
    pixels = max(1, _chunk(mask_logits.device) // names)
    for rows, band in bands(mask_logits, geometry):
        masks = band.clamp_min_(LOWEST_LOGIT).sigmoid_().flatten(1)
        # max, not argmax: both name the first of equal ones, and max is five times faster on a CPU.
        found = torch.cat([(probabilities @ part).max(0).indices for part in torch.split(masks, pixels, dim=1)])
        labels[rows] = found.view(-1, geometry.mask_size[1])
        _add_by_class(totals, found, masks)
    return labels, totals


def _add_by_class(totals: Tensor, labels: Tensor, masks: Tensor) -> None:
    """Add each pixel's mask probabilities [Q, P] to the row of its class in `totals` [N, Q].

    A product with one-hot rows, for adding at an index has no fixed order on an accelerator.
    """
    present = torch.bincount(labels, minlength=len(totals)).nonzero().squeeze(1)
    for ids in torch.split(present, max(1, _chunk(masks.device) // len(labels))):
        totals[ids] += ((labels == ids[:, None]).to(masks.dtype) @ masks.T).double()
