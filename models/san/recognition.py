"""Recognition: CLIP's deep blocks, where each query's SLS token gathers what its attention bias points at."""

from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskmill.models.clip.layers import Grid, clip_block, finish, full_precision, key_value, query_key_value
from maskmill.models.san.config import SanConfig
from maskmill.models.san.visual import ClipFeatures

_EXTRA = 8
"""Channels added to each head for the self term. One is used; eight keep fused kernels' alignment."""

_ROW = 16
"""Rows of an attention bias begin at multiples of so many elements: else fused kernels on CUDA copy it, block by block,
to where they do."""


def pool_bias(bias: Tensor, grid: Grid) -> Tensor:
    """An attention bias [B, heads, Q, h, w] on CLIP's grid, [B, heads, Q, rows, columns], by adaptive max pooling."""
    high, wide = bias.shape[-2] // grid[0], bias.shape[-1] // grid[1]
    if torch.is_grad_enabled() or (high * grid[0], wide * grid[1]) != bias.shape[-2:]:
        pooled = functional.adaptive_max_pool2d(bias.flatten(1, 2), grid)
        return torch.unflatten(pooled, 1, bias.shape[1:3])
    # Cells of one size: a maximum of slices is several times faster. Its gradients differ where values are equal.
    rows = reduce(torch.maximum, (bias[..., row::high, :] for row in range(high)))
    return reduce(torch.maximum, (rows[..., column::wide] for column in range(wide)))


class Recognition(nn.Module):
    """CLIP's image tower from a block on; released as `clip_rec_head`, its blocks renumbered from 0.

    Args:
        config: sizes of the whole SAN.
    """

    def __init__(self, config: SanConfig) -> None:
        super().__init__()
        vision = config.clip.vision_cfg
        self.first_layer = config.split_layer
        self.proj = nn.Parameter(torch.empty(vision.width, config.clip.embed_dim))
        self.resblocks = nn.ModuleList(
            clip_block(vision.width, vision.heads, vision.mlp_ratio, quick_gelu=config.clip.quick_gelu)
            for _ in range(vision.layers - config.split_layer)
        )
        self.ln_post = nn.LayerNorm(vision.width)

    def forward(self, clip: ClipFeatures, bias: Tensor) -> Tensor:
        """Normalised embeddings of SLS tokens.

        Args:
            clip: tokens after the shallow blocks.
            bias: [B, heads, Q, rows, columns] on CLIP's grid, the same for all blocks. Queries don't see one another,
                so those of several depths may stand side by side.

        Returns:
            [B, Q, embed_dim], each of length 1; float32 even under autocast.
        """
        visual = clip.tokens[self.first_layer]
        # SLS tokens start as copies of the CLS token; the extra column belongs to the token itself.
        sls = visual[:, :1].expand(-1, bias.shape[2], -1)
        columns = with_own_column(bias.flatten(3))
        *inner, last = self.resblocks
        for index, block in enumerate(inner):
            query, key, value = query_key_value(block, visual)
            if index:
                own = query_key_value(block, sls)
            else:  # copies of the CLS token still, whose projections are there
                own = query[:, :, :1].expand(-1, -1, bias.shape[2], -1), key[:, :, :1], value[:, :, :1]
            attended = attend_with_self(own[0], own[1:], (key[:, :, 1:], value[:, :, 1:]), columns)
            sls = finish(block, sls, attended)
            visual = finish(block, visual, functional.scaled_dot_product_attention(query, key, value))
        # Nothing reads CLIP's own tokens after the last block: of them it needs keys and values alone.
        key, value = key_value(last, visual[:, 1:])
        own = query_key_value(last, sls)
        sls = finish(last, sls, attend_with_self(own[0], own[1:], (key, value), columns))
        embeddings = self.ln_post(sls) @ self.proj
        return functional.normalize(full_precision(embeddings), dim=-1)


def with_own_column(bias: Tensor) -> Tensor:
    """A bias [..., L] with a column of zeros for the token itself, [..., L + 1], in rows that fused kernels take."""
    length = bias.shape[-1] + 1
    return functional.pad(bias, (0, 1 + -length % _ROW))[..., :length]


def attend_with_self(
    query: Tensor, own: tuple[Tensor, Tensor], shared: tuple[Tensor, Tensor], columns: Tensor
) -> Tensor:
    """Attention of Q tokens to L shared tokens and each to itself alone, without a mask over all pairs.

    All tokens share one extra key instead of having a key each. A further channel of the heads carries what is a
    token's own: in queries its score with itself (the extra key is 1 there, all others 0), in values which share of
    the attention the extra key won; that share then takes the token's own value. Exact, and one fused call.

    Args:
        query: [B, heads, Q, D].
        own: keys and values of the Q tokens, each like `query`, or one that they share, [B, heads, 1, D].
        shared: keys and values of the L tokens, each [B, heads, L, D].
        columns: [B, heads, Q, L + 1], added to the scores; the last column is the token itself.

    Returns:
        [B, heads, Q, D].
    """
    (own_key, own_value), (key, value) = own, shared
    width = query.shape[-1]
    own_score = (query * own_key).sum(-1, keepdim=True)
    unit = functional.pad(query.new_ones(1), (width, _EXTRA - 1)).expand(*key.shape[:2], 1, -1)
    # Autocast sums in float32; what is attended with is no finer than the queries.
    queries = functional.pad(torch.cat([query, own_score.to(query.dtype)], dim=-1), (0, _EXTRA - 1))
    keys = torch.cat([functional.pad(key, (0, _EXTRA)), unit], dim=2)
    values = torch.cat([functional.pad(value, (0, _EXTRA)), unit], dim=2)
    attended = functional.scaled_dot_product_attention(
        queries, keys, values, attn_mask=columns.to(queries.dtype), scale=width**-0.5
    )
    return attended[..., :width] + attended[..., width : width + 1] * own_value
