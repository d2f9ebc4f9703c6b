"""The general and queries forms for a whole batch on an accelerator, which is waited for a few times a batch.

What an image costs there is mostly what the host asks and waits for, so nothing is asked image by image: one look
says which queries are sure, one pass over masks of equal sizes makes label planes and tallies, the host decides on
numbers alone what stays and what merges, and the device writes the run lengths of all segments (`label_planes`).
An image's numbers don't depend on its neighbours: no product is among what is computed here, and what is added up over
pixels comes out the same in any order (`planes.measured`).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from maskmill.models.inference.forms import GeneralInference, QueriesInference
from maskmill.models.inference.layout import Numbers
from maskmill.models.inference.planes import Measure, measured
from maskmill.models.inference.portion import CLASS_ELEMENTS, Mask, Portion
from maskmill.models.inference.statistics import sure
from maskmill.models.inference.transfer import fetch
from maskmill.models.inference.upsample import GPU_BAND_ELEMENTS, Geometry, largest
from maskmill.models.segment import Segment

PLANE_PIXELS = 1 << 29
"""Pixels of label planes that exist at once: half a gigabyte, and as much while their outlines are sought."""


def batched_segments(
    mask_logits: Tensor,
    class_logits: Tensor,
    geometries: Sequence[Geometry],
    inference: GeneralInference | QueriesInference,
    *,
    stuff: Tensor,
    top_k: int,
    soft_masks: bool,
    measure: Measure = measured,
) -> dict[int, list[Segment] | None]:
    """Segments of a batch's images: those of `general_segments` or `queries_segments`, but for rounding.

    Args:
        mask_logits: [B, Q, h, w] at the model's stride.
        class_logits: [B, Q, N + 1], background last; both on one device.
        geometries: sizes of each image.
        inference: form and thresholds.
        stuff: bool [N], on the CPU.
        top_k: classes and logits to list for each segment.
        soft_masks: keep quantised mask logits.
        measure: `planes.measured`, or the same compiled.

    Returns:
        By the image's place: its segments, or None where its logits aren't finite. An image whose masks are too large
        to be held together is left out: bands of rows are for it.
    """
    dtype = torch.float64 if torch.float64 in (mask_logits.dtype, class_logits.dtype) else torch.float32
    class_logits = class_logits.to(dtype)
    finite, chosen = _chosen(mask_logits, class_logits, inference.score_threshold)
    found: dict[int, list[Segment] | None] = {}
    counts = chosen.sum(1)
    images = []
    for image, geometry in enumerate(geometries):
        together = int(counts[image]) if isinstance(inference, GeneralInference) else 1
        if not finite[image]:
            found[image] = None
        elif not counts[image]:
            found[image] = []
        elif together * largest(geometry) <= GPU_BAND_ELEMENTS:
            images.append(image)
    for some in _portions(images, counts, geometries, inference):
        portion = Portion(
            mask_logits,
            class_logits,
            images=some,
            chosen=chosen[some],
            geometries=[geometries[image] for image in some],
            inference=inference,
            top_k=top_k,
            measure=measure,
        )
        found |= zip(some, portion.segments(stuff.numpy(), soft_masks=soft_masks), strict=True)
    return found


def _chosen(mask_logits: Tensor, class_logits: Tensor, threshold: float) -> tuple[Mask, Mask]:
    """Which images have finite logits, [B], and which of their queries are sure of a name, [B, Q]."""
    # A NaN anywhere is the lowest and the highest of all.
    extremes = [
        extreme.double() for logits in (mask_logits, class_logits) for extreme in logits.flatten(1).aminmax(dim=1)
    ]
    at_once = max(1, CLASS_ELEMENTS // class_logits[0].numel())
    keep = torch.cat([sure(part, threshold) for part in torch.split(class_logits, at_once)])
    edges, chosen = fetch([torch.stack(extremes), keep])
    return np.isfinite(edges).all(0), chosen


def _portions(
    images: Sequence[int],
    counts: Numbers,
    geometries: Sequence[Geometry],
    inference: GeneralInference | QueriesInference,
) -> Iterator[list[int]]:
    """The images whose label planes exist together."""
    some: list[int] = []
    held = 0
    for image in images:
        height, width = geometries[image].mask_size
        pixels = height * width * (1 if isinstance(inference, GeneralInference) else int(counts[image]))
        if some and held + pixels > PLANE_PIXELS:
            yield some
            some, held = [], 0
        some.append(image)
        held += pixels
    if some:
        yield some
