"""The mask decoder: side tokens become mask logits and, for each head of CLIP, an attention bias."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskmill.models.clip.layers import Grid, Pointwise, full_precision
from maskmill.models.san.config import SanConfig


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodedMasks:
    """What the mask decoder says."""

    mask_logits: Tensor
    """[B, Q, h, w] at the side ViT's stride; float32 even under autocast."""

    attention_bias: Tensor
    """[B, heads, Q, h, w]: added to CLIP's attention, where a query should look. Not yet on CLIP's grid."""


class Mlp(nn.Module):
    """Layers with ReLU between them, over tokens; `layer` makes one."""

    def __init__(self, layer: type[nn.Linear] | type[Pointwise], sizes: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer(inputs, outputs) for inputs, outputs in pairwise(sizes))

    def hidden(self, tokens: Tensor) -> Tensor:
        """Tokens as they enter the last layer."""
        for layer in self.layers[:-1]:
            tokens = functional.relu(layer(tokens))
        return tokens

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [..., sizes[0]] -> [..., sizes[-1]]."""
        output: Tensor = self.layers[-1](self.hidden(tokens))
        return output


class MaskDecoder(nn.Module):
    """Query . pixel products: one for masks, one a head for the attention bias (section 3.3 of the paper).

    Args:
        config: sizes of the whole SAN.
    """

    def __init__(self, config: SanConfig) -> None:
        super().__init__()
        width, decoder = config.side_vit.width, config.mask_decoder
        inner = [decoder.mlp_channels] * (decoder.mlp_layers - 1)
        self.heads = decoder.bias_heads
        self.query_mlp = Mlp(nn.Linear, [width, *inner, decoder.embed_channels])
        self.pix_mlp = Mlp(Pointwise, [width, *inner, decoder.embed_channels])
        self.attn_mlp = Mlp(Pointwise, [width, *inner, decoder.embed_channels * self.heads])
        self.bias_scaling = nn.Linear(1, 1)

    def forward(self, queries: Tensor, pixels: Tensor, grid: Grid) -> DecodedMasks:
        """Masks of one depth's tokens.

        Args:
            queries: [B, Q, width].
            pixels: [B, rows * columns, width].
            grid: rows, columns.
        """
        query, pixel = self.query_mlp(queries), self.pix_mlp(pixels)
        with torch.autocast(query.device.type, enabled=False):
            masks = full_precision(query) @ full_precision(pixel).transpose(1, 2)
        bias = self._bias(query, self.attn_mlp.hidden(pixels))
        return DecodedMasks(
            mask_logits=torch.unflatten(masks, -1, grid), attention_bias=torch.unflatten(bias, -1, grid)
        )

    def _bias(self, query: Tensor, hidden: Tensor) -> Tensor:
        """Biases [B, heads, Q, L] from queries [B, Q, E] and the hidden pixels [B, L, C] of the bias's MLP.

        The MLP's last layer makes an embedding of E channels for each pixel and head, only to be multiplied with the
        queries. Multiplying its weight with the queries first is the same sum, a third of the work, and never holds
        the largest tensor of the network (heads x E x L).
        """
        last = self.attn_mlp.layers[-1]
        assert isinstance(last, Pointwise)
        assert last.bias is not None
        weight = torch.unflatten(last.weight.flatten(1), 0, (self.heads, -1))  # [heads, E, C]
        offset = torch.unflatten(last.bias, 0, (self.heads, -1))  # [heads, E]
        # Scaled and shifted where it is small, too.
        query = query * self.bias_scaling.weight[0, 0]
        by_head = query[:, None] @ weight  # [B, heads, Q, C]
        shift = (query @ offset.T).transpose(1, 2) + self.bias_scaling.bias[0]  # [B, heads, Q]
        product = torch.baddbmm(shift.flatten(1)[..., None], by_head.flatten(1, 2), hidden.transpose(1, 2))
        return torch.unflatten(product, 1, (self.heads, -1))
