"""The weights, images and label maps of DenseCLIP's goldens, which follow from official names, shapes and seeds."""

import math
import re
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskmill.models.clip.pixels import CLIP_MEAN, CLIP_STD
from maskmill.models.san.untrained import noise

GAINS = (
    (r"attn\.in_proj_weight", 1.5),
    (r"context_decoder\..*\.[qk]_proj\.weight", 1.5),
    (r"backbone\..*attn\.out_proj\.weight", 0.5),
    (r"backbone\.attnpool\.[qk]_proj\.weight", 1.5),
    (r"text_encoder\..*attn\.out_proj\.weight", 2.0),
    (r"context_decoder\.text_proj\.1\.weight", 2.0),
    (r"backbone\.layer\d\.\d+\.conv3\.weight", 0.35),
    (r"backbone\.conv1\.weight", 1.0),
    (r"backbone\.(layer\d\.\d+\.)?conv\d\.weight", math.sqrt(2.0)),
    (r"backbone\.layer\d\.\d+\.downsample\.0\.weight", math.sqrt(2.0)),
    (r"decode_head\.scale_heads\..*conv\.weight", math.sqrt(2.0)),
    (r"neck\.fpn_convs\..*conv\.weight", 0.5),
)
"""How much larger than variance-preserving a weight is; the first pattern that a name ends with decides, else 1."""


def state(shapes: Mapping[str, tuple[int, ...]], salt: str) -> dict[str, Tensor]:
    """Tensors for these names and shapes: float32, and int64 for the counts of batch norms."""
    return {name: torch.from_numpy(fill(name, tuple(shape), salt)) for name, shape in shapes.items()}


def fill(name: str, shape: tuple[int, ...], salt: str) -> NDArray[np.generic]:
    """The array that a tensor of this official name and shape holds."""
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.full(shape, 7, np.int64)
    drawn = noise(salt + name, math.prod(shape)).reshape(shape)
    return np.ascontiguousarray(_scaled(name, leaf, drawn).astype(np.float32))


def _scaled(name: str, leaf: str, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    if name == "gamma":
        return 0.5 + 0.1 * drawn
    simple = {
        "running_mean": (0.0, 0.1),
        "running_var": (1.0, 0.4),
        "contexts": (0.0, 0.7),
        "positional_embedding": (0.0, 0.7),
        "class_embedding": (0.0, 1.0),
    }
    if leaf in simple:
        offset, factor = simple[leaf]
        return offset + factor * drawn
    if name.endswith("token_embedding.weight"):
        return 0.7 * drawn
    if leaf in ("proj", "text_projection") and drawn.ndim == 2:
        return drawn / math.sqrt(drawn.shape[0])
    if drawn.ndim == 1:
        return (leaf == "weight") + 0.1 * drawn
    return _weight(name, drawn)


def _weight(name: str, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix or a kernel."""
    inputs = math.prod(drawn.shape[1:])
    if re.match(r"backbone\.fpn\d", name):
        return drawn / math.sqrt(drawn.shape[0])
    if name.startswith("neck.lateral_convs."):
        # The score map is in the last channels, and has to matter beside two thousand others.
        channel = (np.arange(drawn.shape[1]) + 1.0) / drawn.shape[1]
        return (0.7 + 12.0 * channel**16)[None, :, None, None] * drawn / math.sqrt(inputs)
    if name == "decode_head.conv_seg.weight":
        return 0.7 * (drawn - drawn.mean(1, keepdims=True)) / math.sqrt(inputs)
    gain = next((gain for pattern, gain in GAINS if re.search(f"(^|\\.){pattern}$", name)), 1.0)
    return gain * drawn / math.sqrt(inputs)


def normalised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 [3, h, w] of uint8 [h, w, 3], rounded after each step as the goldens' own pixels were."""
    mean, std = (np.array(values, np.float32).astype(np.float64) for values in (CLIP_MEAN, CLIP_STD))
    centred = (pixels - mean).astype(np.float32)
    scaled = (centred.astype(np.float64) * (1.0 / std)).astype(np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def label_map(height: int, width: int, classes: int, seed: int) -> NDArray[np.int64]:
    """int64 [height, width]: blocks of 8 x 8 pixels, each of one class or, a fifth of them, 255."""
    rows, columns = -(-height // 8), -(-width // 8)
    drawn = noise(f"label/{seed}/{rows}x{columns}", rows * columns)
    labels = np.floor((drawn / math.sqrt(3.0) + 1.0) / 2.0 * classes * 1.25).astype(np.int64)
    labels[labels >= classes] = 255
    return np.kron(labels.reshape(rows, columns), np.ones((8, 8), np.int64))[:height, :width]
