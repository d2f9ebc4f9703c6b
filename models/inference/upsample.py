"""Mask logits from the model's stride to the masks' size, whole or in bands of rows. It applies no sigmoid.

The published order is: bilinear to the padded size, crop to the resized image, bilinear to the masks' size (SAN's
released code; corners not aligned, no antialias). Each step acts on rows and columns apart, so the three together are
`rows @ logits @ columns^T` with one small matrix for each axis, and any band of rows of any queries can be had alone.
Where masks of many images are made together, `turned` takes the steps themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models.resize import Size

CPU_BAND_ELEMENTS = 1 << 19
"""Elements of a band on a CPU: what stays in its cache between the passes over it."""

GPU_BAND_ELEMENTS = 1 << 26
"""Elements of a band on an accelerator: 256 MB of float32, and few kernel launches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """The three sizes between mask logits and masks, each height, width in pixels."""

    padded: Size
    """The model's input: what the mask logits cover, at a stride."""

    size: Size
    """The resized image, the top left part of the input."""

    mask_size: Size
    """The masks."""


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """The composed map of one axis; `axis_of` makes it."""

    weights: Tensor
    """[out, source], few weights a row, which add up to 1."""

    spans: tuple[tuple[int, int], ...]
    """For each row of `weights` the first place that isn't zero and the one after the last."""


@lru_cache(maxsize=64)
def _axis(sizes: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> Axis:
    """The map between the four sizes of an axis: of logits, input, resized image, mask."""
    source, padded, resized, out = sizes
    # Kept beyond this call, so it must not be a tensor of inference mode even when this call is in it.
    with torch.inference_mode(False), torch.no_grad():
        units = torch.eye(source, dtype=torch.float64)[None]
        spread = functional.interpolate(units, size=padded, mode="linear", align_corners=False)[..., :resized]
        weights = functional.interpolate(spread, size=out, mode="linear", align_corners=False)[0].T
        return axis_of(weights, dtype, device)


def axis_of(weights: Tensor, dtype: torch.dtype, device: torch.device) -> Axis:
    """An axis from its weights, float64 [out, source] on the CPU."""
    used = weights != 0
    first, after = used.int().argmax(1), weights.shape[1] - used.flip(1).int().argmax(1)
    return Axis(weights.contiguous().to(device, dtype), tuple(zip(first.tolist(), after.tolist(), strict=True)))


def band_rows(queries: int, width: int, device: torch.device) -> int:
    """Rows of a band of that many masks of that width: what a device works on well at once, and at least 1."""
    elements = CPU_BAND_ELEMENTS if device.type == "cpu" else GPU_BAND_ELEMENTS
    return max(1, elements // max(1, queries * width))


def bands(logits: Tensor, geometry: Geometry, height: int | None = None) -> Iterator[tuple[slice, Tensor]]:
    """Full-size mask logits, some rows at a time, so that memory doesn't grow with the masks' height.

    Args:
        logits: float32 or float64 [K, h, w] at the model's stride, finite; K may be 0.
        geometry: the sizes.
        height: rows of a band; `band_rows` by default.

    Yields:
        The band's rows as a slice of the mask height, and its logits [K, rows, mask width]: the caller's to overwrite.
    """
    tall, across = zip(logits.shape[1:], geometry.padded, geometry.size, geometry.mask_size, strict=True)
    rows, columns = (_axis(sizes, logits.dtype, logits.device) for sizes in (tall, across))
    return bands_of(logits, rows, columns, height)


def bands_of(logits: Tensor, rows: Axis, columns: Axis, height: int | None = None) -> Iterator[tuple[slice, Tensor]]:
    """`rows @ logits @ columns^T`, some rows at a time; arguments and what it yields as for `bands`."""
    wide = logits @ columns.weights.T
    step = height or band_rows(len(logits), len(columns.weights), logits.device)
    for start in range(0, len(rows.weights), step):
        stop = min(start + step, len(rows.weights))
        # Only the few rows of logits that this band is made from take part.
        first = min(span[0] for span in rows.spans[start:stop])
        after = max(span[1] for span in rows.spans[start:stop])
        yield slice(start, stop), rows.weights[start:stop, first:after] @ wide[:, first:after]


def upsample(logits: Tensor, geometry: Geometry) -> Tensor:
    """Full-size mask logits at once.

    Args:
        logits: float32 or float64 [K, h, w] at the model's stride, finite.
        geometry: the sizes.

    Returns:
        [K, mask height, mask width], before the sigmoid.
    """
    full = logits.new_empty(len(logits), *geometry.mask_size)
    for rows, band in bands(logits, geometry):
        full[:, rows] = band
    return full


def turned(logits: Tensor, geometry: Geometry) -> Tensor:
    """Full-size mask logits with columns before rows, the order of run lengths, each pixel from its few neighbours.

    This is the published order step by step. It moves more bytes than a product, but a pixel's bits depend on its own
    logits and the sizes alone; which way a library takes for a product may depend on how many masks go through it.

    Args:
        logits: float32 or float64 [K, h, w] at the model's stride, finite.
        geometry: the sizes.

    Returns:
        [K, mask width, mask height], before the sigmoid.
    """
    full = logits.transpose(1, 2)[:, None].contiguous()
    full = functional.interpolate(full, size=geometry.padded[::-1], mode="bilinear", align_corners=False)
    full = full[..., : geometry.size[1], : geometry.size[0]]
    if geometry.mask_size != geometry.size:
        full = functional.interpolate(full, size=geometry.mask_size[::-1], mode="bilinear", align_corners=False)
    return full[:, 0].contiguous()


def largest(geometry: Geometry) -> int:
    """Elements a mask that `turned` makes on its way, at the most."""
    return max(height * width for height, width in (geometry.padded, geometry.mask_size))
