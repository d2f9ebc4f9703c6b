"""CLIP's shallow blocks: from pixels to the tokens that the side adapter fuses and recognition goes on from."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskmill.models.clip.layers import Grid, GridCache, PatchEmbedding, clip_block, run
from maskmill.models.san.config import SanConfig


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipFeatures:
    """Tokens of CLIP's image tower after some of its blocks."""

    tokens: Mapping[int, Tensor]
    """Blocks run -> [B, 1 + rows * columns, C], the CLS token first; 0 is what enters the first block."""

    grid: Grid
    """Rows, columns of the visual tokens."""


class VisualExtractor(nn.Module):
    """CLIP's image tower up to a block; released as `clip_visual_extractor`.

    Args:
        config: sizes of the whole SAN. Kept are the tokens that fusion or recognition reads.
    """

    def __init__(self, config: SanConfig) -> None:
        super().__init__()
        vision = config.clip.vision_cfg
        self.resolution = config.clip_resolution
        self.stored_grid = (vision.grid, vision.grid)
        self.kept = {layer for _, layer in config.fusion} | {config.split_layer}
        self._places = GridCache()
        self.class_embedding = nn.Parameter(torch.empty(vision.width))
        self.positional_embedding = nn.Parameter(torch.empty(vision.grid**2 + 1, vision.width))
        self.conv1 = PatchEmbedding(vision.width, vision.patch_size, bias=False)
        self.ln_pre = nn.LayerNorm(vision.width)
        self.resblocks = nn.ModuleList(
            clip_block(vision.width, vision.heads, vision.mlp_ratio, quick_gelu=config.clip.quick_gelu)
            for _ in range(config.split_layer)
        )

    def clip_input(self, images: Tensor) -> Tensor:
        """Normalised, padded images [B, 3, H, W] at CLIP's resolution.

        By scale factor rather than by size, and without antialias, as the released weights were trained: where H or W
        doesn't divide, the two sample different points.
        """
        return functional.interpolate(images, scale_factor=self.resolution, mode="bilinear", align_corners=False)

    def forward(self, images: Tensor) -> ClipFeatures:
        """CLIP's tokens of images.

        Args:
            images: [B, 3, H, W] at CLIP's resolution (see `clip_input`), normalised with CLIP's mean and deviation.

        Returns:
            The tokens after each block that is read later.
        """
        grid = self.conv1.grid(images)
        patches = self.conv1(images)
        classes, places = self.positional_embedding[:1], self.positional_embedding[1:]
        cls_token = (self.class_embedding + classes).expand(len(images), 1, -1)
        tokens = self.ln_pre(
            torch.cat([cls_token, patches + self._places.resized(places, self.stored_grid, grid)], dim=1)
        )
        kept = {0: tokens} if 0 in self.kept else {}
        for done, block in enumerate(self.resblocks, start=1):
            tokens = run(block, tokens)
            if done in self.kept:
                kept[done] = tokens
        return ClipFeatures(tokens=kept, grid=grid)
