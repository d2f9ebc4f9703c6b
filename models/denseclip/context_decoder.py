"""The context decoder: texts look at the image (the paper's post-model prompting, section 3.3)."""

from torch import Tensor, nn
from torch.nn import functional

from maskmill.models.clip.layers import split_heads
from maskmill.models.denseclip.config import ContextDecoderConfig


class Attention(nn.Module):
    """Multi-head attention without bias on queries, keys and values.

    Args:
        width: channels.
        heads: attention heads.
        dropout: share of the output that training drops.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.proj = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, memory: Tensor) -> Tensor:
        """What tokens [B, N, width] find in memory [B, M, width]."""
        query = split_heads(self.q_proj(tokens), self.heads)
        key, value = split_heads(self.k_proj(memory), self.heads), split_heads(self.v_proj(memory), self.heads)
        attended = functional.scaled_dot_product_attention(query, key, value)
        found: Tensor = self.drop(self.proj(attended.transpose(1, 2).flatten(2)))
        return found


class DecoderLayer(nn.Module):
    """Texts among themselves, texts to the image, MLP with exact GELU; each after a norm, added to what was there."""

    def __init__(self, config: ContextDecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.self_attn = Attention(width, config.heads, config.dropout)
        self.cross_attn = Attention(width, config.heads, config.dropout)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(config.dropout)

    def forward(self, texts: Tensor, memory: Tensor) -> Tensor:
        """Texts [B, N, width] after looking at memory [B, M, width], which is normalised already."""
        normed = self.norm1(texts)
        texts = texts + self.self_attn(normed, normed)
        texts = texts + self.cross_attn(self.norm2(texts), memory)
        output: Tensor = texts + self.drop(self.mlp(self.norm3(texts)))
        return output


class ContextDecoder(nn.Module):
    """What an image adds to each text.

    Args:
        config: its sizes.
        embed_dim: channels of texts and image embeddings.
    """

    def __init__(self, config: ContextDecoderConfig, embed_dim: int) -> None:
        super().__init__()
        width = config.width
        self.memory_proj = nn.Sequential(nn.LayerNorm(embed_dim), nn.Linear(embed_dim, width), nn.LayerNorm(width))
        self.text_proj = nn.Sequential(nn.LayerNorm(embed_dim), nn.Linear(embed_dim, width))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.out_proj = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, embed_dim))

    def forward(self, texts: Tensor, image: Tensor) -> Tensor:
        """What is to be added to the texts, before its learned factor.

        Args:
            texts: [B, N, embed_dim], not normalised.
            image: [B, 1 + cells, embed_dim], embeddings of the image and its cells, not normalised.
        """
        memory, hidden = self.memory_proj(image), self.text_proj(texts)
        for layer in self.decoder:
            hidden = layer(hidden, memory)
        added: Tensor = self.out_proj(hidden)
        return added
