"""Weights without training: every tensor follows from its released name and its shape. Deterministic, and no labels.

The goldens were made with these values by the authors' code, so two implementations that agree on names can be given
the same weights. They also stand in where a model has no trained weights yet: its masks then mean nothing.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_NORMS = frozenset({"ln_1", "ln_2", "ln_pre", "ln_post", "ln_final", "norm1", "norm2", "norm", "norm_pre"})


@dataclass(frozen=True, kw_only=True, slots=True)
class FillRule:
    """What the values follow from, besides names and shapes."""

    salt: str = ""
    """Goes before each name, so that sets of weights differ."""

    overrides: Mapping[str, float] = field(default_factory=dict)
    """Tensors that hold one number throughout."""

    gains: Mapping[str, float] = field(default_factory=dict)
    """Tensors that are this many times what the rule gives them."""

    def state(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """float32 tensors for these names and shapes."""
        return {name: torch.from_numpy(self.tensor(name, shape)) for name, shape in shapes.items()}

    def tensor(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The float32 array that a tensor of this released name and shape holds."""
        if name in self.overrides:
            return np.full(shape, self.overrides[name], np.float32)
        module, leaf = name.split(".")[-2:]
        if leaf == "logit_scale":
            return np.full(shape, math.log(100.0), np.float32)
        if module == "bias_scaling":
            return np.full(shape, 0.75 if leaf == "weight" else 0.25, np.float32)
        values = noise(self.salt + name, math.prod(shape)).reshape(shape)
        if module in _NORMS or name.endswith(("input_proj.0.weight", "input_proj.0.bias")):
            values *= 0.1
            values += leaf == "weight"
        else:
            multiplier, divisor = _scale(name, module, leaf, shape)
            values *= multiplier
            values /= divisor
        return (values * self.gains.get(name, 1.0)).astype(np.float32)


def _scale(name: str, module: str, leaf: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """What the noise of a tensor that is no norm's is multiplied with, then divided by."""
    if leaf in ("bias", "in_proj_bias"):
        return 0.1, 1.0
    if module == "token_embedding" or leaf in ("positional_embedding", "pos_embed", "query_pos_embed"):
        return 0.7, 1.0
    if leaf in ("class_embedding", "query_embed"):
        return 1.0, 1.0
    if leaf == "bg_embed":
        return 1.0, math.sqrt(shape[-1])
    if leaf in ("proj", "text_projection"):
        return 1.0, math.sqrt(shape[0])
    inputs = math.prod(shape[1:])
    return _gain(name, inputs), math.sqrt(inputs)


def _gain(name: str, inputs: int) -> float:
    """How much larger than variance-preserving a weight of this many inputs is."""
    if name.endswith(("attn.in_proj_weight", "attn.qkv.weight")):
        return 1.5  # attention is then not uniform
    if name.endswith("attn.out_proj.weight"):
        # Patch tokens stay apart in CLIP's shallow blocks, and SLS tokens take up what they attend to.
        return {"clip_visual_extractor": 0.5, "clip_rec_head": 2.0}.get(name.split(".", 1)[0], 1.0)
    if "_mlp.layers." in name and name.endswith("layers.2.weight"):
        return 3.0 / math.sqrt(inputs)  # mask logits and biases then stay within about 20
    return 1.0


def noise(name: str, count: int) -> NDArray[np.float64]:
    """`count` numbers of mean 0 and variance 1 in [-sqrt 3, sqrt 3), from a name.

    PCG64's raw bits are stable over NumPy's versions, its distributions are not promised to be.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    bits = np.random.PCG64(seed).random_raw(count)
    values = (bits >> np.uint64(11)).astype(np.float64)
    values *= 2.0**-52
    values -= 1.0
    values *= math.sqrt(3.0)
    return values


SAN_TINY_FILL = FillRule(
    salt="san-tiny-7/",
    overrides={
        "ov_classifier.logit_scale": 6.0,
        "side_adapter_network.mask_decoder.query_mlp.layers.2.bias": 1.6,
        "side_adapter_network.mask_decoder.pix_mlp.layers.2.bias": -1.6,
    },
    gains={
        "side_adapter_network.query_embed": 4.0,
        "side_adapter_network.vit_model.pos_embed": 4.0,
        "side_adapter_network.vit_model.patch_embed.proj.weight": 2.0,
        "side_adapter_network.mask_decoder.query_mlp.layers.2.weight": 2.0,
        "side_adapter_network.mask_decoder.pix_mlp.layers.2.weight": 3.0,
    },
)
"""What san-tiny's sizes hold where a test wants labels that no training moves.

Plain noise makes masks that cover most of the image and one another, and nothing would survive. The larger embeddings
keep queries and pixels apart, the opposite biases shift mask logits down until masks are small, and the temperature
makes the classifier sure of itself: on scenes the default form then keeps three to four segments an image.
"""
