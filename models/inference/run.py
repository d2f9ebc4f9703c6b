"""From mask and class logits to segments, in the form asked for: of a batch, which models call, and of one image."""

from collections.abc import Sequence
from typing import assert_never

import torch
from torch import Tensor

from maskmill.models.errors import UsageError
from maskmill.models.inference.batch import batched_segments
from maskmill.models.inference.forms import GeneralInference, Inference, QueriesInference, SemanticInference
from maskmill.models.inference.general import general_segments
from maskmill.models.inference.planes import Measure, measured
from maskmill.models.inference.queries import queries_segments
from maskmill.models.inference.semantic import semantic_segments
from maskmill.models.inference.upsample import Geometry
from maskmill.models.resize import Size
from maskmill.models.segment import Segment


def goes_together(device: torch.device, inference: Inference) -> bool:
    """Whether a batch's segments are made together, not image by image.

    An accelerator waits for the host at every image; a CPU's cache holds the masks of one. The semantic form decides
    band by band which names it needs to sum at all, and has no whole-batch form.
    """
    return device.type != "cpu" and not isinstance(inference, SemanticInference)


@torch.no_grad()
def segments_of_batch(
    mask_logits: Tensor,
    class_logits: Tensor,
    geometries: Sequence[Geometry],
    *,
    stuff: Tensor,
    inference: Inference,
    top_k: int,
    soft_masks: bool,
    measure: Measure = measured,
) -> list[list[Segment] | None]:
    """Segments of each image of a batch, all together where that `goes_together`.

    Args:
        mask_logits: [B, Q, h, w] at the model's stride, covering the padded input.
        class_logits: [B, Q, N + 1], background last, before softmax.
        geometries: sizes of each image.
        stuff: bool [N], on the CPU: classes whose segments merge in general form.
        inference: form and thresholds.
        top_k: how many classes and logits to list for each segment; 1 or more.
        soft_masks: keep each segment's quantised mask logits.
        measure: `planes.measured`, or the same compiled, for what is made together.

    Returns:
        For each image what `segments_of` gives, or None where a logit isn't finite.

    Raises:
        UsageError: as `segments_of`.
    """
    found: dict[int, list[Segment] | None] = {}
    if not isinstance(inference, SemanticInference) and goes_together(mask_logits.device, inference):
        found = batched_segments(
            mask_logits,
            class_logits,
            geometries,
            inference,
            stuff=stuff,
            top_k=top_k,
            soft_masks=soft_masks,
            measure=measure,
        )
    for image, geometry in enumerate(geometries):
        if image in found:
            continue
        try:
            found[image] = segments_of(
                mask_logits[image],
                class_logits[image],
                padded=geometry.padded,
                size=geometry.size,
                mask_size=geometry.mask_size,
                stuff=stuff,
                inference=inference,
                top_k=top_k,
                soft_masks=soft_masks,
            )
        except FloatingPointError:
            found[image] = None
    return [found[image] for image in range(len(geometries))]


@torch.no_grad()
def segments_of(
    mask_logits: Tensor,
    class_logits: Tensor,
    *,
    padded: Size,
    size: Size,
    mask_size: Size,
    stuff: Tensor,
    inference: Inference,
    top_k: int,
    soft_masks: bool,
) -> list[Segment]:
    """Segments of one image.

    It computes in float64 if either input is float64, else in float32, where the logits live; run lengths and the
    scalars of segments are all that crosses to the host.

    Args:
        mask_logits: [Q, h, w] at the model's stride, covering the padded input.
        class_logits: [Q, N + 1], background last, before softmax.
        padded: height, width of the model's input.
        size: height, width of the resized image before padding.
        mask_size: height, width of the masks.
        stuff: bool [N], on the CPU: classes whose segments merge in general form.
        inference: form and thresholds.
        top_k: how many classes and logits to list for each segment; 1 or more.
        soft_masks: keep each segment's quantised mask logits.

    Returns:
        Segments in the order of their queries (of their vocabulary ids in semantic form); empty where nothing is kept.

    Raises:
        FloatingPointError: a logit isn't finite, so that no segment of this image could be trusted.
        UsageError: soft masks in semantic form, whose segments are no query's.
    """
    if soft_masks and isinstance(inference, SemanticInference):
        raise UsageError(
            "--soft-masks with --inference semantic: expected general or queries, whose segments have a query's mask "
            "logits. Choose one of them or leave --soft-masks out."
        )
    assert top_k >= 1, "a segment lists at least one class"
    assert len(stuff) == class_logits.shape[1] - 1, "one flag for each name"
    assert len(mask_logits) == len(class_logits), "one row of class logits for each mask"
    dtype = torch.float64 if torch.float64 in (mask_logits.dtype, class_logits.dtype) else torch.float32
    masks, classes = mask_logits.to(dtype), class_logits.to(dtype)
    masks_finite, classes_finite = masks.isfinite().all(), classes.isfinite().all()
    if not bool(masks_finite & classes_finite):
        kinds = [name for name, good in (("mask", masks_finite), ("class", classes_finite)) if not bool(good)]
        raise FloatingPointError(f"{' and '.join(kinds)} logits that are not finite")
    geometry = Geometry(padded=padded, size=size, mask_size=mask_size)
    match inference:
        case GeneralInference():
            return general_segments(
                masks, classes, geometry, inference, stuff=stuff, top_k=top_k, soft_masks=soft_masks
            )
        case SemanticInference():
            return semantic_segments(masks, classes, geometry, top_k=top_k)
        case QueriesInference():
            return queries_segments(masks, classes, geometry, inference, top_k=top_k, soft_masks=soft_masks)
        case _:
            assert_never(inference)
