"""The classifier: CLIP's text tower, and class logits as cosines with class names and a learned background."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskmill.models.clip.layers import clip_block, full_precision, run
from maskmill.models.clip.products import linear
from maskmill.models.san.config import SanConfig


class TextTransformer(nn.Module):
    """The text tower's blocks, under their released name."""

    def __init__(self, config: SanConfig) -> None:
        super().__init__()
        text = config.clip.text_cfg
        self.resblocks = nn.ModuleList(
            clip_block(text.width, text.heads, text.mlp_ratio, quick_gelu=config.clip.quick_gelu)
            for _ in range(text.layers)
        )


class Classifier(nn.Module):
    """Text tower, background embedding and temperature; released as `ov_classifier`.

    Args:
        config: sizes of the whole SAN.
    """

    def __init__(self, config: SanConfig) -> None:
        super().__init__()
        text, embed_dim = config.clip.text_cfg, config.clip.embed_dim
        self.positional_embedding = nn.Parameter(torch.empty(text.context_length, text.width))
        self.text_projection = nn.Parameter(torch.empty(text.width, embed_dim))
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.bg_embed = nn.Parameter(torch.empty(1, embed_dim))
        self.transformer = TextTransformer(config)
        # From an empty tensor: nn.Embedding's own start draws 25 million random numbers that nobody reads.
        self.token_embedding = nn.Embedding(
            text.vocab_size, text.width, _weight=torch.empty(text.vocab_size, text.width)
        )
        self.ln_final = nn.LayerNorm(text.width)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Normalised text features.

        Args:
            tokens: int [P, T], zeros after each prompt's end token, which has the largest id.

        Returns:
            [P, embed_dim], each of length 1.
        """
        ends = tokens.argmax(dim=-1)
        # Tokens see only what stands before them: columns after the last end token change nothing, and most are such.
        length = int(ends.max()) + 1
        hidden = self.token_embedding(tokens[:, :length]) + self.positional_embedding[:length]
        for block in self.transformer.resblocks:
            hidden = run(block, hidden, causal=True)
        read = self.ln_final(hidden[torch.arange(len(tokens), device=tokens.device), ends])
        return functional.normalize(read @ self.text_projection, dim=-1)

    def class_weights(self, features: Tensor) -> Tensor:
        """Class features [N, embed_dim] and, last, the background: [N + 1, embed_dim], each of length 1."""
        return functional.normalize(torch.cat([features.to(self.bg_embed.dtype), self.bg_embed]), dim=-1)

    def forward(self, embeddings: Tensor, class_weights: Tensor) -> Tensor:
        """Class logits.

        Args:
            embeddings: [B, Q, embed_dim], normalised.
            class_weights: [N + 1, embed_dim], normalised, background last.

        Returns:
            [B, Q, N + 1]; float32 even under autocast.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            # The temperature goes over the embeddings: there are fewer of them than logits.
            return linear(self.logit_scale.exp() * full_precision(embeddings), class_weights)
