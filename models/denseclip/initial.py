"""Where a DenseCLIP's training starts: a CLIP with all else fresh, or a whole DenseCLIP. Trains nothing.

Sources: DenseCLIP's released code (position grids bilinear, gamma, contexts, context decoder); MMCV's and PyTorch's own
starts for the neck, the pyramid and the head; open_clip's parameter names for CLIP.
"""

import math
import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from maskmill.models import checkpoint
from maskmill.models.clip.layers import resize_positions
from maskmill.models.denseclip.config import DenseClipConfig, VitConfig
from maskmill.models.denseclip.model import empty
from maskmill.models.errors import UsageError
from maskmill.models.redaction import redact

GAMMA = 1e-4
"""What of the decoded contexts the texts get at the start."""

_EXTRAS = ("logit_scale", "logit_bias", "attn_mask", "input_resolution", "context_length", "vocab_size")
"""What CLIP files hold beside the towers."""

Origin = Literal["DenseCLIP", "CLIP"]
"""What a file of tensors was."""


def initial(
    config: DenseClipConfig, state: Mapping[str, Tensor], *, seed: int, source: str
) -> tuple[dict[str, Tensor], Origin]:
    """All tensors of a DenseCLIP at the start of training, float32 (counts int64).

    Args:
        config: all sizes.
        state: a DenseCLIP checkpoint; a CLIP under open_clip's names; or a SAN checkpoint, for the CLIP in it.
        seed: of what CLIP doesn't have; without effect on a whole DenseCLIP.
        source: where the tensors come from, for errors.

    Returns:
        Tensors by released name, and what `state` was.

    Raises:
        UsageError: names or shapes don't fit the configuration.
    """
    wanted = empty(config).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    integers = {name for name, tensor in wanted.items() if not tensor.is_floating_point()}
    if any(name.startswith("decode_head.") for name in state):
        whole = checkpoint.fitted(
            state, shapes, ignored=config.ignored, integers=integers, source=source, option="--init"
        )
        return {name: _plain(tensor) for name, tensor in whole.items()}, "DenseCLIP"
    given = dict(state)
    if any(name.startswith("clip_visual_extractor.") for name in given):
        given = from_san(given)
    if not any(name.startswith("visual.") for name in given):
        raise UsageError(
            f"--init {redact(source)!r}: holds neither a DenseCLIP nor a CLIP: no decode_head.*, visual.* or "
            "clip_visual_extractor.* names. Name open_clip weights."
        )
    towers = from_open_clip(given, config)
    own = {name: shape for name, shape in shapes.items() if not _is_fresh(name)}
    counted = integers & own.keys()
    clip = checkpoint.fitted(towers, own, integers=counted, source=source, option="--init")
    fresh = fresh_tensors({name: shape for name, shape in shapes.items() if _is_fresh(name)}, seed)
    return {name: _plain(tensor) for name, tensor in clip.items()} | fresh, "CLIP"


def _plain(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _is_fresh(name: str) -> bool:
    """Whether CLIP has no tensor for this name."""
    return not name.startswith(("backbone.", "text_encoder.")) or name.startswith("backbone.fpn")


def from_open_clip(state: Mapping[str, Tensor], config: DenseClipConfig) -> dict[str, Tensor]:
    """A CLIP's tensors (open_clip's names, which are OpenAI's) under DenseCLIP's, position grids resized."""
    found = {}
    for name, tensor in state.items():
        if name in _EXTRAS:
            continue
        if name.startswith("visual."):
            found[f"backbone.{name.removeprefix('visual.')}"] = tensor
        else:
            found[f"text_encoder.{name}"] = tensor
    places = "positional_embedding" if isinstance(config.image, VitConfig) else "attnpool.positional_embedding"
    if (name := f"backbone.{places}") in found:
        found[name] = _resized(found[name].float(), config.image.grid)
    if (name := "text_encoder.positional_embedding") in found:
        # Names are short; as published, the positions beyond them are left out.
        found[name] = found[name][: config.text.context_length]
    return found


def _resized(places: Tensor, grid: int) -> Tensor:
    """A position embedding [1 + side x side, width] for another grid, the first row kept."""
    side = math.isqrt(len(places) - 1)
    if places.dim() != 2 or side * side != len(places) - 1 or side == 0:
        return places  # no square grid: its shape is told as wrong
    return torch.cat([places[:1], resize_positions(places[1:], (side, side), (grid, grid), mode="bilinear")])


def from_san(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The CLIP in a SAN checkpoint, under open_clip's names."""
    shallow = {
        int(match[1])
        for name in state
        if (match := re.match(r"clip_visual_extractor\.resblocks\.(\d+)\.", name)) is not None
    }
    first = max(shallow, default=-1) + 1
    found = {}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        block = re.match(r"resblocks\.(\d+)\.(.+)", rest)
        if part == "ov_classifier" and rest != "bg_embed":
            found[rest] = tensor
        elif part in ("clip_visual_extractor", "clip_rec_head") and block is not None:
            number = int(block[1]) + (first if part == "clip_rec_head" else 0)
            found[f"visual.transformer.resblocks.{number}.{block[2]}"] = tensor
        elif part in ("clip_visual_extractor", "clip_rec_head"):
            found[f"visual.{rest}"] = tensor
    return found


def fresh_tensors(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Tensors of all that CLIP doesn't have, as the published training starts.

    Args:
        shapes: by released name.
        seed: equal seeds give equal tensors.
    """
    generator = torch.Generator().manual_seed(seed)
    kernels = {name.rpartition(".")[0]: shape for name, shape in shapes.items() if len(shape) == 4}
    return {name: _fresh(name, shape, kernels, generator) for name, shape in sorted(shapes.items())}


def _fresh(
    name: str, shape: tuple[int, ...], kernels: Mapping[str, tuple[int, ...]], random: torch.Generator
) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    tensor = torch.zeros(shape)
    module, _, leaf = name.rpartition(".")
    if name == "gamma":
        tensor.fill_(GAMMA)
    elif name == "contexts":
        nn.init.trunc_normal_(tensor, std=1.0, generator=random)
    elif leaf == "running_var" or (len(shape) == 1 and leaf == "weight"):
        tensor.fill_(1.0)
    elif name.startswith("backbone.fpn") and module in kernels:
        # PyTorch's own: within 1 / sqrt(inputs); a transposed kernel counts those in its second dimension.
        bound = 1.0 / math.sqrt(math.prod(kernels[module][1:]))
        tensor.uniform_(-bound, bound, generator=random)
    elif leaf != "weight":
        pass  # biases and running means
    elif name.startswith("context_decoder."):
        nn.init.trunc_normal_(tensor, std=0.02, generator=random)
    elif name.startswith("neck."):
        nn.init.xavier_uniform_(tensor, generator=random)
    elif name.startswith("decode_head.conv_seg."):
        tensor.normal_(std=0.01, generator=random)
    else:
        nn.init.kaiming_normal_(tensor, mode="fan_out", nonlinearity="relu", generator=random)
    return tensor
