"""The side adapter: a small ViT with query tokens, into which CLIP's tokens are fused. Masks are decoded elsewhere."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from maskmill.models.clip.layers import Grid, GridCache, PatchEmbedding, Pointwise, split_heads, to_map, to_tokens
from maskmill.models.clip.products import linear, linear_gelu
from maskmill.models.san.config import SanConfig, SideVitConfig
from maskmill.models.san.mask_decoder import MaskDecoder
from maskmill.models.san.visual import ClipFeatures

_EPS = 1e-6
"""LayerNorm's epsilon in the side ViT and in fusion; CLIP's own is 1e-5."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SideTokens:
    """The side ViT's tokens at one depth."""

    queries: Tensor
    """[B, Q, width]."""

    pixels: Tensor
    """[B, rows * columns, width]."""

    grid: Grid
    """Rows, columns of `pixels`."""


class SideNorm(nn.LayerNorm):
    """LayerNorm with the side ViT's epsilon, as timm's blocks make their norms."""

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__(width, eps=_EPS, **options)


class Fusion(nn.Module):
    """Adds CLIP's visual tokens to the side ViT's: norm over channels, 1x1 convolution, bilinear resize, sum."""

    def __init__(self, clip_width: int, width: int) -> None:
        super().__init__()
        self.input_proj = nn.Sequential(SideNorm(clip_width), Pointwise(clip_width, width))

    def forward(self, clip_tokens: Tensor, clip_grid: Grid, grid: Grid) -> Tensor:
        """CLIP's visual tokens [B, L, clip_width] as what is added to side tokens [B, rows * columns, width]."""
        projected: Tensor = self.input_proj(clip_tokens)
        if clip_grid == grid:
            return projected
        resized = functional.interpolate(to_map(projected, clip_grid), size=grid, mode="bilinear", align_corners=False)
        return to_tokens(resized)


class SideBlock(Block):
    """A block of the side ViT: timm's in names and sizes, without what timm's is prepared for and this ViT lacks."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Tokens [B, L, C] -> the same; all attend to all."""
        assert attn_mask is None
        assert not is_causal
        attention: Any = self.attn
        mlp: Any = self.mlp
        mixed = linear(self.norm1(x), attention.qkv.weight, attention.qkv.bias)
        query, key, value = (split_heads(part, attention.num_heads) for part in mixed.chunk(3, dim=-1))
        attended = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = x + linear(attended, attention.proj.weight, attention.proj.bias)
        hidden = linear_gelu(self.norm2(tokens), mlp.fc1.weight, mlp.fc1.bias)
        output: Tensor = tokens + linear(hidden, mlp.fc2.weight, mlp.fc2.bias)
        return output


class SideVit(nn.Module):
    """The ViT's parameters; its blocks are timm's. It has no class token and no final norm."""

    def __init__(self, config: SideVitConfig) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.empty(1, config.grid**2, config.width))
        self.patch_embed = nn.ModuleDict({"proj": PatchEmbedding(config.width, config.patch_size, bias=True)})
        self.blocks = nn.ModuleList(
            SideBlock(config.width, config.heads, qkv_bias=True, norm_layer=SideNorm, act_layer=nn.GELU)
            for _ in range(config.depth)
        )


class SideAdapter(nn.Module):
    """The side adapter network; released as `side_adapter_network`.

    Args:
        config: sizes of the whole SAN.
    """

    def __init__(self, config: SanConfig) -> None:
        super().__init__()
        side = config.side_vit
        self.fusion_map = dict(config.fusion)
        self.stored_grid = (side.grid, side.grid)
        self._places = GridCache()
        self.query_embed = nn.Parameter(torch.empty(1, config.num_queries, side.width))
        self.query_pos_embed = nn.Parameter(torch.empty(1, config.num_queries, side.width))
        self.vit_model = SideVit(side)
        self.fusion_layers = nn.ModuleDict(
            {f"layer_{block}": Fusion(config.clip.vision_cfg.width, side.width) for block, _ in config.fusion}
        )
        self.mask_decoder = MaskDecoder(config)

    def forward(self, images: Tensor, clip: ClipFeatures, depths: Collection[int]) -> dict[int, SideTokens]:
        """The side ViT's tokens at each depth asked for.

        Args:
            images: [B, 3, H, W], normalised, at full resolution.
            clip: CLIP's tokens at the blocks that the fusion map names.
            depths: numbers of blocks run; nothing after the deepest is computed.
        """
        patch_embedding = self.vit_model.patch_embed["proj"]
        assert isinstance(patch_embedding, PatchEmbedding)
        grid = patch_embedding.grid(images)
        pixels = patch_embedding(images)
        places = self._places.resized(self.vit_model.pos_embed[0], self.stored_grid, grid)
        positions = torch.cat([self.query_pos_embed[0], places])
        tokens = torch.cat([self.query_embed.expand(len(images), -1, -1), pixels], dim=1) + positions
        tokens = self._fused(0, tokens, clip, grid)
        queries = self.query_embed.shape[1]
        found = {}
        for done, block in enumerate(self.vit_model.blocks[: max(depths)], start=1):
            if done > 1:
                tokens = tokens + positions
            tokens = self._fused(done, block(tokens), clip, grid)
            if done in depths:
                found[done] = SideTokens(queries=tokens[:, :queries], pixels=tokens[:, queries:], grid=grid)
        return found

    def _fused(self, block: int, tokens: Tensor, clip: ClipFeatures, grid: Grid) -> Tensor:
        """Tokens on their way into the side block of this index, with CLIP's tokens added where the map says so."""
        if block not in self.fusion_map:
            return tokens
        clip_tokens = clip.tokens[self.fusion_map[block]][:, 1:]
        added = self.fusion_layers[f"layer_{block}"](clip_tokens, clip.grid, grid)
        queries = self.query_embed.shape[1]
        return torch.cat([tokens[:, :queries], tokens[:, queries:] + added], dim=1)
