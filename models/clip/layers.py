"""Layers that several models share: convolutions that are matrix products, position grids, CLIP's blocks.

Patch and 1x1 convolutions run as matrix products over tokens. They are the same sums, and stay float32 where cuDNN
would take TF32 and pick its algorithm by trial.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskmill.models.clip.products import linear

Grid = tuple[int, int]
"""Rows, columns of a map of tokens."""

GRIDS_KEPT = 16
"""Grids whose position embeddings a `GridCache` keeps: 1.5 MB each for 640 x 640 pixels."""


class PatchEmbedding(nn.Conv2d):
    """A patch convolution (its stride is its kernel) as one matrix product.

    Args:
        width: channels of a token.
        patch_size: side of a patch in pixels.
        bias: whether a learned offset is added.
    """

    def __init__(self, width: int, patch_size: int, *, bias: bool) -> None:
        super().__init__(3, width, patch_size, stride=patch_size, bias=bias)

    def grid(self, images: Tensor) -> Grid:
        """Rows, columns of whole patches in images [B, 3, H, W]; pixels beyond them are not read."""
        side = self.kernel_size[0]
        return images.shape[-2] // side, images.shape[-1] // side

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] -> tokens [B, rows * columns, width], row by row."""
        side, (rows, columns) = self.kernel_size[0], self.grid(images)
        whole = images[..., : rows * side, : columns * side]
        patches = whole.reshape(-1, 3, rows, side, columns, side).permute(0, 2, 4, 1, 3, 5)
        patches = patches.reshape(-1, rows * columns, 3 * side * side)
        return linear(patches, self.weight.flatten(1), self.bias)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution over tokens [..., in_channels]; the weight keeps a convolution's shape."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [..., in_channels] -> [..., out_channels]."""
        return linear(tokens, self.weight.flatten(1), self.bias)


def to_map(tokens: Tensor, grid: Grid) -> Tensor:
    """Tokens [B, rows * columns, C] as a map [B, C, rows, columns] (a view)."""
    return torch.unflatten(tokens.transpose(1, 2), 2, grid)


def to_tokens(feature_map: Tensor) -> Tensor:
    """A map [B, C, rows, columns] as tokens [B, rows * columns, C] (a view)."""
    return feature_map.flatten(2).transpose(1, 2)


def resize_positions(
    positions: Tensor, stored: Grid, grid: Grid, mode: Literal["bilinear", "bicubic"] = "bicubic"
) -> Tensor:
    """A position embedding [L, C] of one grid for another: no antialias; itself where the grids agree."""
    if stored == grid:
        return positions
    resized = functional.interpolate(to_map(positions[None], stored), size=grid, mode=mode, align_corners=False)
    return to_tokens(resized)[0]


class GridCache:
    """Position embeddings of the grids seen last, kept while no gradients are asked for and the stored one stays."""

    def __init__(self) -> None:
        self._kept: dict[Grid, tuple[Tensor, int, Tensor]] = {}

    def resized(self, positions: Tensor, stored: Grid, grid: Grid) -> Tensor:
        """What `resize_positions` gives."""
        if stored == grid or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return resize_positions(positions, stored, grid)
        found = self._kept.get(grid)
        if found is not None:
            source, version, resized = found
            # The source is held, so that no other tensor can come to lie where it lies.
            if source.data_ptr() == positions.data_ptr() and version == positions._version:
                return resized
        resized = resize_positions(positions, stored, grid)
        while len(self._kept) >= GRIDS_KEPT:
            self._kept.pop(next(iter(self._kept)), None)
        self._kept[grid] = positions, positions._version, resized
        return resized


# open_clip's ResidualAttentionBlock has names, sizes and activation right, but its forward hides keys and values in
# nn.MultiheadAttention, whose path depends on gradients being on. These functions run such a block through
# scaled_dot_product_attention, and let SLS tokens read the keys and values that visual tokens already have.


def clip_block(width: int, heads: int, mlp_ratio: float, *, quick_gelu: bool) -> nn.Module:
    """One transformer block of CLIP (either tower), open_clip's."""
    from open_clip.transformer import QuickGELU, ResidualAttentionBlock

    block: nn.Module = ResidualAttentionBlock(
        width, heads, mlp_ratio=mlp_ratio, act_layer=QuickGELU if quick_gelu else nn.GELU
    )
    return block


def query_key_value(block: Any, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A block's queries, keys and values of tokens [B, L, C], each [B, heads, L, C / heads]."""
    mixed = linear(block.ln_1(tokens), block.attn.in_proj_weight, block.attn.in_proj_bias)
    query, key, value = mixed.chunk(3, dim=-1)
    return _split(block, query), _split(block, key), _split(block, value)


def key_value(block: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """A block's keys and values alone, each [B, heads, L, C / heads]."""
    width = tokens.shape[-1]
    projected = linear(block.ln_1(tokens), block.attn.in_proj_weight[width:], block.attn.in_proj_bias[width:])
    key, value = projected.chunk(2, dim=-1)
    return _split(block, key), _split(block, value)


def finish(block: Any, tokens: Tensor, attended: Tensor, drop: nn.Module | None = None) -> Tensor:
    """What a block makes of tokens [B, L, C] and what they attended to, [B, heads, L, C / heads].

    `drop` goes over what each half adds: stochastic depth, in training.
    """
    kept = nn.Identity() if drop is None else drop
    projection, mlp = block.attn.out_proj, block.mlp
    tokens = tokens + kept(linear(attended.transpose(1, 2).flatten(2), projection.weight, projection.bias))
    hidden = _activated(mlp.gelu, linear(block.ln_2(tokens), mlp.c_fc.weight, mlp.c_fc.bias))
    output: Tensor = tokens + kept(linear(hidden, mlp.c_proj.weight, mlp.c_proj.bias))
    return output


def run(block: Any, tokens: Tensor, *, causal: bool = False, drop: nn.Module | None = None) -> Tensor:
    """A whole block over tokens [B, L, C]; with `causal`, tokens see only those before them and themselves."""
    query, key, value = query_key_value(block, tokens)
    attended = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
    return finish(block, tokens, attended, drop)


def _activated(activation: nn.Module, hidden: Tensor) -> Tensor:
    """The activation of a block's hidden tokens; QuickGELU in one tensor less where no gradient needs it."""
    from open_clip.transformer import QuickGELU

    if torch.is_grad_enabled() or not isinstance(activation, QuickGELU):
        output: Tensor = activation(hidden)
        return output
    return (1.702 * hidden).sigmoid_().mul_(hidden)


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """Tokens [B, L, C] as [B, heads, L, C / heads] (a view)."""
    return torch.unflatten(tokens, -1, (heads, -1)).transpose(1, 2)


def _split(block: Any, tokens: Tensor) -> Tensor:
    return split_heads(tokens, block.attn.num_heads)


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32 at least: bfloat16 that autocast made becomes float32, float64 stays."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
