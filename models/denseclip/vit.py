"""The image encoder on CLIP's ViT: its blocks, tapped for a pyramid, and its projection for every patch."""

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from maskmill.models.clip.layers import PatchEmbedding, clip_block, resize_positions, run, to_map
from maskmill.models.denseclip.config import VitConfig
from maskmill.models.denseclip.image_features import ImageFeatures
from maskmill.models.denseclip.pyramid import pyramid


class Transformer(nn.Module):
    """The ViT's blocks, under their released name, with stochastic depth that grows with depth."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(
            clip_block(config.width, config.heads, 4.0, quick_gelu=True) for _ in range(config.layers)
        )
        self.drops = nn.ModuleList(
            DropPath(config.drop_path * depth / max(1, config.layers - 1)) for depth in range(config.layers)
        )

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """Tokens [B, L, width] after each block."""
        found = []
        for block, drop in zip(self.resblocks, self.drops, strict=True):
            tokens = run(block, tokens, drop=drop)
            found.append(tokens)
        return found


class VitEncoder(nn.Module):
    """CLIP's ViT, under CLIP's names, and the pyramid.

    Args:
        config: its sizes.
        embed_dim: channels of the embeddings.
    """

    def __init__(self, config: VitConfig, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        self.class_embedding = nn.Parameter(torch.empty(config.width))
        self.positional_embedding = nn.Parameter(torch.empty(config.grid**2 + 1, config.width))
        self.proj = nn.Parameter(torch.empty(config.width, embed_dim))
        self.conv1 = PatchEmbedding(config.width, config.patch_size, bias=False)
        self.ln_pre = nn.LayerNorm(config.width)
        self.transformer = Transformer(config)
        self.ln_post = nn.LayerNorm(config.width)
        self.fpn1, self.fpn2, self.fpn3, self.fpn4 = pyramid(config.width, config.patch_size)

    def forward(self, images: Tensor) -> ImageFeatures:
        """Normalised images [B, 3, H, W], 32 or more on a side; pixels beyond whole patches are not read."""
        grid = self.conv1.grid(images)
        patches = self.conv1(images)
        side = self.config.grid
        places = resize_positions(self.positional_embedding[1:], (side, side), grid, mode="bilinear")
        # As published, the class embedding is in the CLS token and once more in its position.
        first = 2 * self.class_embedding + self.positional_embedding[0]
        tokens = torch.cat([first.expand(len(images), 1, -1), patches + places], dim=1)
        outputs = self.transformer(self.ln_pre(tokens))
        levels = tuple(
            scale(to_map(outputs[tap][:, 1:], grid))
            for scale, tap in zip((self.fpn1, self.fpn2, self.fpn3, self.fpn4), self.config.taps, strict=True)
        )
        embedded = self.ln_post(outputs[-1]) @ self.proj
        return ImageFeatures(levels=levels, whole=embedded[:, 0], dense=to_map(embedded[:, 1:], grid))
