"""The `queries` form: every query that is sure of a name, with its whole mask. Masks may overlap."""

import torch
from torch import Tensor

from maskmill.models.inference.forms import QueriesInference
from maskmill.models.inference.statistics import MaskTally, class_scores, confident, make_segment, quantised
from maskmill.models.inference.upsample import Geometry, bands
from maskmill.models.masks.rle import encode_and_measure
from maskmill.models.segment import Segment


def queries_segments(
    mask_logits: Tensor,
    class_logits: Tensor,
    geometry: Geometry,
    inference: QueriesInference,
    *,
    top_k: int,
    soft_masks: bool,
) -> list[Segment]:
    """Segments of one image: queries whose top class isn't background and reaches the threshold.

    A segment is where its query's mask probability is at least 0.5; a query without such a pixel is dropped. Nothing
    competes, so `kept` is 1.

    Args:
        mask_logits: [Q, h, w] at the model's stride, finite.
        class_logits: [Q, N + 1], background last, finite.
        geometry: sizes between the two.
        inference: the threshold.
        top_k: classes and logits to list for each segment.
        soft_masks: keep quantised mask logits.

    Returns:
        Segments in the order of their queries.
    """
    queries = confident(class_logits, inference.score_threshold)
    logits = mask_logits[queries]
    masks = torch.empty(len(queries), *geometry.mask_size, dtype=torch.bool, device=logits.device)
    tally = MaskTally(len(queries), logits.device)
    for rows, band in bands(logits, geometry):
        masks[:, rows] = tally.add(band, band.sigmoid())
    soft = quantised(logits, geometry.padded, geometry.size) if soft_masks else None
    return [
        make_segment(
            query,
            classes,
            own,
            encoded,
            kept=1.0,
            mask_size=geometry.mask_size,
            mask_logits=None if soft is None else soft[index],
        )
        for index, (query, classes, own, encoded) in enumerate(
            zip(
                queries.tolist(),
                class_scores(class_logits[queries], top_k),
                tally.results(),
                encode_and_measure(masks),
                strict=True,
            )
        )
        if own.area
    ]
