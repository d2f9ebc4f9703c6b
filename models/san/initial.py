"""Where a SAN's training starts: a CLIP with a fresh side adapter and background, or a whole SAN. Trains nothing.

Sources: SAN's released code for the fresh tensors (timm's ViT initialisation, detectron2's Xavier for fusion, PyTorch's
own for the mask decoder); open_clip's parameter names for CLIP.
"""

import math
import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from maskmill.models import checkpoint
from maskmill.models.errors import UsageError
from maskmill.models.redaction import redact
from maskmill.models.san.config import SanConfig
from maskmill.models.san.model import empty, is_trainable

SIDE, BACKGROUND = "side_adapter_network.", "ov_classifier.bg_embed"
"""What SAN adds to CLIP: names that begin with the first, and the second."""

_CLIP_EXTRAS = ("attn_mask", "input_resolution", "context_length", "vocab_size", "logit_bias")
"""What CLIP files hold beside the towers."""

Origin = Literal["SAN", "CLIP"]
"""What a file of tensors was: a whole SAN, or a CLIP."""


def initial(
    config: SanConfig, state: Mapping[str, Tensor], *, seed: int, source: str
) -> tuple[dict[str, Tensor], Origin]:
    """All tensors of a SAN at the start of training, float32.

    Args:
        config: all sizes.
        state: a SAN checkpoint; a CLIP under open_clip's names; or a CLIP under a SAN's names, without side adapter.
        seed: of the fresh side adapter and background; without effect on a whole SAN.
        source: where the tensors come from, for errors.

    Returns:
        Tensors by released name, and what `state` was.

    Raises:
        UsageError: names or shapes don't fit the configuration.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in empty(config).state_dict().items()}
    given = dict(state)
    if any(name.startswith("visual.") for name in given):
        given = from_open_clip(given, config.split_layer)
    if any(name.startswith(SIDE) for name in given):
        whole = checkpoint.fitted(given, shapes, ignored=config.ignored, source=source, option="--init")
        return {name: tensor.float() for name, tensor in whole.items()}, "SAN"
    if not any(name.startswith("clip_visual_extractor.") for name in given):
        raise UsageError(
            f"--init {redact(source)!r}: holds neither a SAN nor a CLIP: no visual.* and no "
            "clip_visual_extractor.* names. Name open_clip weights, such as hf://timm/vit_base_patch16_clip_224.openai/open_clip_model.safetensors."
        )
    fresh = {name: shape for name, shape in shapes.items() if name.startswith(SIDE) or name == BACKGROUND}
    clip_shapes = {name: shape for name, shape in shapes.items() if name not in fresh}
    surplus = (*config.ignored, BACKGROUND)
    clip = checkpoint.fitted(given, clip_shapes, ignored=surplus, source=source, option="--init")
    return {name: tensor.float() for name, tensor in clip.items()} | fresh_tensors(fresh, seed), "CLIP"


def from_open_clip(state: Mapping[str, Tensor], split_layer: int) -> dict[str, Tensor]:
    """A CLIP's tensors (open_clip's names, which are OpenAI's) under the names that a SAN has for them."""
    found = {}
    for name, tensor in state.items():
        if name in _CLIP_EXTRAS:
            continue
        block = re.fullmatch(r"visual\.transformer\.resblocks\.(\d+)\.(.+)", name)
        if block:
            number = int(block[1])
            shallow = number < split_layer
            part = "clip_visual_extractor" if shallow else "clip_rec_head"
            found[f"{part}.resblocks.{number if shallow else number - split_layer}.{block[2]}"] = tensor
        elif name.startswith(("visual.ln_post.", "visual.proj")):
            found[f"clip_rec_head.{name.removeprefix('visual.')}"] = tensor
        elif name.startswith("visual."):
            found[f"clip_visual_extractor.{name.removeprefix('visual.')}"] = tensor
        else:
            found[f"ov_classifier.{name}"] = tensor
    return found


def fresh_tensors(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Tensors of a side adapter and a background that have learnt nothing, as the published training starts.

    Args:
        shapes: by released name; all of them train.
        seed: equal seeds give equal tensors.
    """
    assert all(is_trainable(name) for name in shapes), "CLIP's own tensors are never fresh"
    generator = torch.Generator().manual_seed(seed)
    inputs = {name.rpartition(".")[0]: math.prod(shape[1:]) for name, shape in shapes.items() if len(shape) > 1}
    found = {}
    for name, shape in sorted(shapes.items()):
        tensor = torch.zeros(shape)
        module, _, leaf = name.rpartition(".")
        if re.search(r"\.norm[12]$|\.input_proj\.0$", module):
            tensor.fill_(1.0 if leaf == "weight" else 0.0)
        elif leaf in ("query_embed", "query_pos_embed"):
            tensor.normal_(std=0.02, generator=generator)
        elif leaf == "bg_embed":
            tensor.normal_(std=shape[1] ** -0.5, generator=generator)
        elif leaf == "pos_embed" or (".blocks." in name and leaf == "weight"):
            nn.init.trunc_normal_(tensor, std=0.02, generator=generator)
        elif ".blocks." in name or (module.endswith("input_proj.1") and leaf == "bias"):
            pass
        elif module.endswith("input_proj.1"):
            bound = math.sqrt(3.0 / inputs[module])
            tensor.uniform_(-bound, bound, generator=generator)
        else:  # PyTorch's own start of Linear and Conv2d: weights and biases within 1 / sqrt(inputs)
            bound = 1.0 / math.sqrt(inputs[module])
            tensor.uniform_(-bound, bound, generator=generator)
        found[name] = tensor
    return found
