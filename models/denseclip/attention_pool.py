"""The pool at the end of CLIP's ResNet, asked for every cell instead of the image alone."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskmill.models.clip.layers import resize_positions, split_heads, to_map, to_tokens


class AttentionPool(nn.Module):
    """One attention layer in which the mean and every cell are queries, keys and values.

    Args:
        channels: of the map that is pooled.
        embed_dim: channels of what comes out.
        heads: attention heads.
        grid: rows and columns of the stored position embedding.
    """

    def __init__(self, channels: int, embed_dim: int, heads: int, grid: int) -> None:
        super().__init__()
        self.heads = heads
        self.grid = grid
        self.positional_embedding = nn.Parameter(torch.empty(grid * grid + 1, channels))
        self.k_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, embed_dim)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of the image and of its cells.

        Args:
            features: [B, channels, rows, columns].

        Returns:
            [B, embed_dim] and [B, embed_dim, rows, columns].
        """
        grid = (features.shape[-2], features.shape[-1])
        cells = to_tokens(features)
        places = resize_positions(self.positional_embedding[1:], (self.grid, self.grid), grid, mode="bilinear")
        tokens = torch.cat([cells.mean(1, keepdim=True), cells], dim=1)
        tokens = tokens + torch.cat([self.positional_embedding[:1], places])
        query, key, value = (
            split_heads(project(tokens), self.heads) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = functional.scaled_dot_product_attention(query, key, value)
        pooled = self.c_proj(attended.transpose(1, 2).flatten(2))
        return pooled[:, 0], to_map(pooled[:, 1:], grid)
