"""Sizes of CLIP's two towers, under open_clip's names. Plain data: nothing here imports torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipVisionConfig:
    """CLIP's image tower, a ViT."""

    image_size: int
    """Side in pixels of the square images it was pre-trained on; with the patch it fixes the position grid."""

    patch_size: int
    """Side of a patch, in pixels."""

    layers: int
    """Transformer blocks, shallow and recognition together."""

    width: int
    """Channels of a token."""

    head_width: int = 64
    """Channels of an attention head."""

    mlp_ratio: float = 4.0
    """Hidden channels of a block's MLP over `width`."""

    @property
    def heads(self) -> int:
        """Attention heads of a block."""
        return self.width // self.head_width

    @property
    def grid(self) -> int:
        """Rows (and columns) of the stored position embedding."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTextConfig:
    """CLIP's text tower."""

    context_length: int = 77
    """Tokens a prompt may have, start and end included."""

    vocab_size: int = 49408
    """Rows of the token embedding; CLIP's byte-pair encoding has 49,408."""

    kept_tokens: tuple[int, ...] | None = None
    """Ids of CLIP's byte-pair encoding that the rows stand for, ascending; None where they are all of them."""

    width: int
    """Channels of a token."""

    heads: int
    """Attention heads of a block."""

    layers: int
    """Transformer blocks."""

    mlp_ratio: float = 4.0
    """Hidden channels of a block's MLP over `width`."""

    @property
    def kept_tokens_fit(self) -> bool:
        """Whether each row of the token embedding has its id. The end token's is the largest, and has to stay so."""
        kept = self.kept_tokens
        return kept is None or (len(kept) == self.vocab_size and tuple(sorted(set(kept))) == kept)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """The two CLIP towers, under open_clip's names."""

    embed_dim: int
    """Channels of the space that images and text share."""

    quick_gelu: bool = False
    """Activation of both towers: OpenAI's weights were trained with QuickGELU, and are wrong with GELU."""

    vision_cfg: ClipVisionConfig
    """The image tower."""

    text_cfg: ClipTextConfig
    """The text tower."""
