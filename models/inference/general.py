"""The `general` form: queries compete for pixels, segments don't overlap, stuff of one class is one segment.

Source: MaskFormer (NeurIPS 2021), section 3.4, general inference: pixel p goes to the query i that has the highest
p_i(c_i) x m_i[p] among those whose top class c_i is a name; segments that lose most of their mask are dropped.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskmill.models.inference.forms import GeneralInference
from maskmill.models.inference.statistics import MaskTally, class_scores, confident, count, make_segment, quantised
from maskmill.models.inference.upsample import Geometry, bands
from maskmill.models.masks.rle import encode_and_measure
from maskmill.models.segment import Segment


def general_segments(
    mask_logits: Tensor,
    class_logits: Tensor,
    geometry: Geometry,
    inference: GeneralInference,
    *,
    stuff: Tensor,
    top_k: int,
    soft_masks: bool,
) -> list[Segment]:
    """Segments of one image that share no pixel.

    A query takes part when its top class isn't background and reaches the score threshold. Each pixel goes to the one
    with the highest score x mask probability, of equal ones the lowest. A query's segment is what it won of its own
    mask, where its mask probability is at least 0.5. `kept` is the share of the own mask that the segment holds; an
    empty segment, or one that keeps less than the overlap threshold, is dropped. (MaskFormer's code compares all that
    a query won, also outside its own mask; here the threshold is on the number that the table tells.)

    Then stuff of one class merges. The merged segment takes its fields from the query that brought most of its pixels,
    of equal ones the lowest; its `kept` is the share of that query's own mask that the merged segment covers.

    Args:
        mask_logits: [Q, h, w] at the model's stride, finite.
        class_logits: [Q, N + 1], background last, finite.
        geometry: sizes between the two.
        inference: the thresholds.
        stuff: bool [N], on the CPU: classes whose segments merge.
        top_k: classes and logits to list for each segment.
        soft_masks: keep quantised mask logits (a merged segment keeps those of the query that its fields are from).

    Returns:
        Segments in the order of their queries.
    """
    queries = confident(class_logits, inference.score_threshold)
    if not len(queries):
        return []
    logits, classes = mask_logits[queries], class_scores(class_logits[queries], top_k)
    weights = class_logits[queries].softmax(1)[:, :-1].amax(1)
    own, winners, tally = _compete(logits, weights, geometry)
    own_masks = tally.results()
    # One place more than there are queries: the last is nobody's.
    held = torch.bincount(winners.flatten(), minlength=len(queries) + 1).tolist()
    groups = merged(
        [
            index
            for index, mask in enumerate(own_masks)
            if held[index] and held[index] / mask.area >= inference.overlap_threshold
        ],
        [scores.vocab_id for scores in classes],
        held,
        stuff.numpy(),
    )
    if not groups:
        return []
    leaders = list(groups)
    segment_of = torch.full((len(queries) + 1,), -1, dtype=torch.int16)
    for segment, members in enumerate(groups.values()):
        segment_of[members] = segment
    labels = segment_of.to(winners.device)[winners]
    masks = labels == torch.arange(len(groups), dtype=torch.int16, device=labels.device)[:, None, None]
    for segment, (leader, members) in enumerate(groups.items()):
        if len(members) > 1:
            held[leader] = int(count((masks[segment] & own[leader])[None]))
    soft = quantised(logits[leaders], geometry.padded, geometry.size) if soft_masks else None
    numbers = queries.tolist()
    return [
        make_segment(
            numbers[leader],
            classes[leader],
            own_masks[leader],
            encoded,
            kept=held[leader] / own_masks[leader].area,
            mask_size=geometry.mask_size,
            mask_logits=None if soft is None else soft[index],
        )
        for index, (leader, encoded) in enumerate(zip(leaders, encode_and_measure(masks), strict=True))
    ]


def _compete(logits: Tensor, weights: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor, MaskTally]:
    """Own masks bool [K, H, W], the query that holds each pixel int64 [H, W] (K where nobody does), and the tally."""
    own = torch.empty(len(logits), *geometry.mask_size, dtype=torch.bool, device=logits.device)
    winners = torch.empty(geometry.mask_size, dtype=torch.int64, device=logits.device)
    tally = MaskTally(len(logits), logits.device)
    for rows, band in bands(logits, geometry):
        probabilities = band.sigmoid()
        own[:, rows] = tally.add(band, probabilities)
        # max, not argmax: both name the first of equal ones, and max is five times faster on a CPU.
        winner = probabilities.mul_(weights[:, None, None]).max(0).indices
        holds = own[:, rows].gather(0, winner[None])[0]
        winners[rows] = torch.where(holds, winner, len(logits))
    return own, winners, tally


def merged(
    kept: Sequence[int], ids: Sequence[int], held: Sequence[float], stuff: NDArray[np.bool_]
) -> dict[int, list[int]]:
    """Members of each final segment by the one that leads it, in ascending order of leaders.

    Args:
        kept: the queries that keep enough, ascending, by their places in what follows.
        ids: the class of each query.
        held: pixels that each query holds.
        stuff: of each class, whether its segments merge.
    """
    merging: defaultdict[int, list[int]] = defaultdict(list)
    groups: dict[int, list[int]] = {}
    for index in kept:
        if stuff[ids[index]]:
            merging[ids[index]].append(index)
        else:
            groups[index] = [index]
    for members in merging.values():
        groups[max(members, key=lambda index: (held[index], -index))] = members
    return dict(sorted(groups.items()))
