"""The text encoder: CLIP's, reading learned contexts between the start token and a bare name."""

import torch
from torch import Tensor, nn

from maskmill.models.clip.config import ClipTextConfig
from maskmill.models.clip.layers import clip_block, run


class TextTransformer(nn.Module):
    """The blocks, under their released name."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(
            clip_block(config.width, config.heads, config.mlp_ratio, quick_gelu=True) for _ in range(config.layers)
        )


class TextEncoder(nn.Module):
    """CLIP's text tower with few positions.

    Args:
        config: its sizes.
        embed_dim: channels of a text feature.
    """

    def __init__(self, config: ClipTextConfig, embed_dim: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, config.width))
        self.text_projection = nn.Parameter(torch.empty(config.width, embed_dim))
        self.transformer = TextTransformer(config)
        # From an empty tensor: nn.Embedding's own start draws 25 million random numbers that nobody reads.
        self.token_embedding = nn.Embedding(
            config.vocab_size, config.width, _weight=torch.empty(config.vocab_size, config.width)
        )
        self.ln_final = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor, contexts: Tensor) -> Tensor:
        """Text features.

        Args:
            tokens: int [N, T]: start, name, end (the largest id), zeros.
            contexts: [1, C, width], read after the start token; C + T positions are there.

        Returns:
            [N, embed_dim], not normalised: lengths matter to the context decoder and to what it adds to.
        """
        words = self.token_embedding(tokens)
        between = contexts.expand(len(tokens), -1, -1)
        hidden = torch.cat([words[:, :1], between, words[:, 1:]], dim=1) + self.positional_embedding
        for block in self.transformer.resblocks:
            hidden = run(block, hidden, causal=True)
        ends = tokens.argmax(dim=-1) + contexts.shape[1]
        read = self.ln_final(hidden[torch.arange(len(tokens), device=tokens.device), ends])
        features: Tensor = read @ self.text_projection
        return features
