"""The `semantic` form: every pixel has one class, every class present has one segment. No query owns a segment.

Source: MaskFormer (NeurIPS 2021), section 3.4, semantic inference, as SAN (CVPR 2023), section 3.3, uses it: pixel p
takes the name c with the highest sum over queries i of p_i(c) x m_i[p]; the softmax includes background, which is left
out of the choice and not made up for.
"""

from collections.abc import Callable, Iterable
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models.inference.statistics import ClassScores, class_scores, make_segment
from maskmill.models.inference.upsample import Geometry, band_rows, bands
from maskmill.models.masks.rle import encode_and_measure
from maskmill.models.resize import Size
from maskmill.models.segment import Segment

CPU_SUM_ELEMENTS = 1 << 19
"""Elements of names x pixels that exist at once on a CPU."""

GPU_SUM_ELEMENTS = 1 << 27
"""Elements of names x pixels that exist at once on an accelerator: 512 MB of float32."""

TILE = 16
"""Side of the tiles, in mask pixels, over which a name's sum is bounded: about a cell of the mask logits."""

BOUND_SLACK = 1e-4
"""A bound this much lower, relatively, still counts: far more than a float32 sum of a hundred products may be off."""

Band = tuple[slice, Tensor]
"""Some rows of the masks, and what is said of them, [K, rows, W]."""

LOWEST_LOGIT = -80.0
"""Mask logits are raised to this, sigmoid 2e-35, so that no pixel's sums are all zero in float32."""


def semantic_segments(mask_logits: Tensor, class_logits: Tensor, geometry: Geometry, *, top_k: int) -> list[Segment]:
    """One segment for each class that has pixels; together they cover the image.

    A class's logit in a segment is ln of the mean over the segment's pixels of its sum, background's likewise; score
    and margin follow from the softmax of these. As the sum is linear in the mask probabilities, their means over each
    segment are enough: no sum of any other class is ever kept.

    Memory beyond the masks' size: a band of the queries' masks, a chunk of names x pixels, both bounded whatever the
    vocabulary; names x tiles of one row of tiles (5 MB for 21,000 names and masks 1,024 wide); queries x names a few
    times in float64 (17 MB each for 21,000 names and 100 queries). Time: queries x names x tiles multiplications, and
    queries x pixels x those names that may be highest somewhere in a band.

    Args:
        mask_logits: [Q, h, w] at the model's stride, finite.
        class_logits: [Q, N + 1], background last, finite.
        geometry: sizes between the two.
        top_k: classes and logits to list for each segment.

    Returns:
        Segments in ascending order of vocabulary ids; query is -1, and mask_score, stability and kept are None.
    """
    names = class_logits.log_softmax(1)[:, :-1]
    # A common factor changes no choice; this one keeps names from vanishing where background is all but certain.
    weights = (names - names.max()).exp().T.contiguous()
    labels, totals = _classify(mask_logits, weights, geometry)
    probabilities = class_logits.double().softmax(1)

    def scores(ids: Tensor, areas: Tensor) -> list[ClassScores]:
        return sum_scores((totals[ids] / areas[:, None]) @ probabilities, top_k, ids)

    return segments_of_labels(labels, len(totals), scores, classes=probabilities.shape[1])


def sum_scores(means: Tensor, top_k: int, ids: Tensor) -> list[ClassScores]:
    """Scores of segments from the means over their pixels of each name's sum, background's last.

    Args:
        means: float64 [K, N + 1].
        top_k: classes and logits to list for each.
        ids: int64 [K], their classes.
    """
    return class_scores(means.clamp_min(torch.finfo(means.dtype).tiny).log(), top_k, given=ids)


def closed_segments(bands: Iterable[Band], names: int, mask_size: Size, *, top_k: int) -> list[Segment]:
    """One segment for each class that has pixels, where a model says a logit of every name for every pixel.

    Each pixel takes the name with the highest logit, of equal ones the first. A name's logit in a segment is the mean
    of its logits over the segment's pixels; score and margin follow from the softmax of these over the names, as such
    a model knows no background. The segment's own name is always its top one, for it is so at each of its pixels.

    Args:
        bands: rows of the masks and their class logits [names, rows, W], finite, which are overwritten.
        names: N.
        mask_size: height, width of the masks.
        top_k: classes and logits to list for each segment.

    Returns:
        Segments in ascending order of vocabulary ids; query is -1, and background_logit, mask_score, stability and
        kept are None.
    """
    labels: Tensor | None = None
    totals: Tensor | None = None
    for rows, band in bands:
        if labels is None or totals is None:
            labels = torch.empty(mask_size, dtype=torch.int64, device=band.device)
            totals = torch.zeros(names, names, dtype=torch.float64, device=band.device)
        # max, not argmax: both name the first of equal ones, and max is five times faster on a CPU.
        labels[rows] = band.max(0).indices
        add_by_class(totals, labels[rows].flatten(), band.flatten(1))
    assert labels is not None, "an image has rows"
    assert totals is not None
    sums = totals

    def scores(ids: Tensor, areas: Tensor) -> list[ClassScores]:
        return class_scores(sums[ids] / areas[:, None], top_k, given=ids, background=False)

    return segments_of_labels(labels, names, scores, classes=names)


def segments_of_labels(
    labels: Tensor, names: int, scores: Callable[[Tensor, Tensor], list[ClassScores]], *, classes: int
) -> list[Segment]:
    """The segments of a label map.

    Args:
        labels: int64 [H, W], below `names`.
        names: N.
        scores: from class ids [K] and the areas of their segments [K], both int64, to their scores.
        classes: columns that `scores` works on.
    """
    areas = torch.bincount(labels.flatten(), minlength=names)
    present = areas.nonzero().squeeze(1)
    segments: list[Segment] = []
    for ids in torch.split(present, max(1, _chunk(labels.device) // classes)):
        parts = torch.split(ids, max(1, _chunk(labels.device) // labels.numel()))
        encoded = chain.from_iterable(encode_and_measure(labels == part[:, None, None]) for part in parts)
        for told, mask in zip(scores(ids, areas[ids]), encoded, strict=True):
            segments.append(
                make_segment(
                    -1, told, None, mask, kept=None, mask_size=(labels.shape[0], labels.shape[1]), mask_logits=None
                )
            )
    return segments


def _chunk(device: torch.device) -> int:
    return CPU_SUM_ELEMENTS if device.type == "cpu" else GPU_SUM_ELEMENTS


def _classify(mask_logits: Tensor, probabilities: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """The class of each pixel, int64 [H, W], and each class's sums of mask probability over its pixels, float64 [N, Q].

    Args:
        mask_logits: [Q, h, w].
        probabilities: of the names, [N, Q], times any common factor.
        geometry: sizes.
    """
    step = rows_at_once(probabilities, geometry.mask_size[1])
    labels = torch.empty(geometry.mask_size, dtype=torch.int64, device=mask_logits.device)
    totals = torch.zeros(probabilities.shape, dtype=torch.float64, device=mask_logits.device)
    for rows, band in bands(mask_logits, geometry, step):
        masks = band.clamp_min_(LOWEST_LOGIT).sigmoid_()
        labels[rows] = classify(probabilities, masks)
        add_by_class(totals, labels[rows].flatten(), masks.flatten(1))
    return labels, totals


def classify(probabilities: Tensor, masks: Tensor) -> Tensor:
    """The name with the highest sum over queries at each pixel, the first of equal ones: int64 [rows, W].

    Args:
        probabilities: of the names, [N, Q], times any common factor.
        masks: mask probabilities [Q, rows, W].
    """
    ids = _candidates(probabilities, masks)
    return ids[_highest(probabilities[ids], masks.flatten(1))[1]].view(masks.shape[1:])


def rows_at_once(probabilities: Tensor, width: int) -> int:
    """Rows of a band: whole tiles, few enough that the band's masks and names x tiles stay small."""
    names, queries = probabilities.shape
    by_masks = band_rows(queries, width, probabilities.device) // TILE
    by_names = _chunk(probabilities.device) // (names * -(-width // TILE))
    return TILE * max(1, min(by_masks, by_names))


def _candidates(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Names that can have the highest sum at some pixel of a band; the others need not be summed at all.

    Within a tile no sum exceeds what the highest mask probabilities of the tile give. A name whose bound is below what
    some name surely reaches at every pixel of the tile is out. Mask logits are coarse, so that most tiles leave few.

    Args:
        probabilities: of the names, [N, Q].
        masks: mask probabilities [Q, rows, W].

    Returns:
        int64 [C], ascending.
    """
    bounds = probabilities @ _tile_max(masks).flatten(1)
    likely = torch.bincount(bounds.max(0).indices, minlength=len(probabilities)).nonzero().squeeze(1)
    reached = _highest(probabilities[likely], masks.flatten(1))[0].view(1, *masks.shape[1:])
    surely = -_tile_max(-reached).flatten()
    return (bounds >= surely * (1 - BOUND_SLACK)).any(1).nonzero().squeeze(1)


def _tile_max(values: Tensor) -> Tensor:
    """The highest of each tile, those at the lower and right edge being smaller: [K, rows, W] -> [K, tiles, tiles].

    Rows first: that is a pass over whole rows, where max pooling picks its way from pixel to pixel.
    """
    rows = torch.cat([part.amax(1, keepdim=True) for part in torch.split(values, TILE, dim=1)], dim=1)
    return functional.max_pool2d(rows, (1, TILE), ceil_mode=True)


def _highest(probabilities: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """The highest sum over queries at each pixel, and the row it is from, the first of equal ones.

    Args:
        probabilities: of some names, [C, Q].
        masks: mask probabilities [Q, P].

    Returns:
        [P] and int64 [P].
    """
    pixels = max(1, _chunk(masks.device) // len(probabilities))
    # max, not argmax: both name the first of equal ones, and max is five times faster on a CPU.
    parts = [(probabilities @ part).max(0) for part in torch.split(masks, pixels, dim=1)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def add_by_class(totals: Tensor, labels: Tensor, masks: Tensor) -> None:
    """Add each pixel's mask probabilities [Q, P] to the row of its class in `totals` [N, Q].

    A product with one-hot rows, for adding at an index has no fixed order on an accelerator.
    """
    present = torch.bincount(labels, minlength=len(totals)).nonzero().squeeze(1)
    for ids in torch.split(present, max(1, _chunk(masks.device) // len(labels))):
        totals[ids] += ((labels == ids[:, None]).to(masks.dtype) @ masks.T).double()
