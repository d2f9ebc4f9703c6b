"""Sizes of a DenseCLIP, and the published ones. Plain data: nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from maskmill.models.architecture import Architecture, Form
from maskmill.models.clip.config import ClipTextConfig
from maskmill.models.errors import UsageError
from maskmill.models.san.config import SCENE_TOKENS
from maskmill.models.windows import WindowConfig

if TYPE_CHECKING:
    from torch import Tensor


LEVELS = 4
"""Feature maps that the image encoder gives, at strides 4, 8, 16 and 32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResNetConfig:
    """CLIP's ResNet with its attention pool."""

    image_size: int
    """Side in pixels of the square images whose grid the pool's position embedding covers."""

    layers: tuple[int, int, int, int]
    """Bottleneck blocks of each stage."""

    width: int = 64
    """Channels after the stem; the stages have 4, 8, 16 and 32 times as many."""

    heads: int = 32
    """Attention heads of the pool. The released code has 32 at any width."""

    @property
    def grid(self) -> int:
        """Rows (and columns) of the stored position embedding."""
        return self.image_size // 32

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * 4 * 2**level for level in range(LEVELS))

    @property
    def score_level(self) -> int:
        """The level whose grid is that of the dense embedding, so that the score map joins it."""
        return 3

    @property
    def fits(self) -> bool:
        """Whether the sizes fit each other."""
        return self.image_size % 32 == 0 and (self.width * 32) % self.heads == 0 and len(self.layers) == LEVELS


@dataclass(frozen=True, kw_only=True, slots=True)
class VitConfig:
    """CLIP's ViT with a pyramid over some of its blocks."""

    image_size: int
    """Side in pixels of the square images whose grid the stored position embedding covers."""

    patch_size: int = 16
    """Side of a patch in pixels: 16 or 8."""

    layers: int
    """Transformer blocks."""

    width: int
    """Channels of a token, and of each level."""

    heads: int
    """Attention heads of a block."""

    taps: tuple[int, int, int, int]
    """Blocks, counted from 0, whose output becomes level 0, 1, 2 and 3."""

    drop_path: float = 0.1
    """In training the last block is left out with this probability, the first never, those between in proportion."""

    @property
    def grid(self) -> int:
        """Rows (and columns) of the stored position embedding."""
        return self.image_size // self.patch_size

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return (self.width,) * LEVELS

    @property
    def score_level(self) -> int:
        """The level whose grid is that of the dense embedding, so that the score map joins it."""
        return {16: 2, 8: 1}[self.patch_size]

    @property
    def fits(self) -> bool:
        """Whether the sizes fit each other."""
        return (
            self.patch_size in (8, 16)
            and self.image_size % self.patch_size == 0
            and self.width % self.heads == 0
            and len(self.taps) == LEVELS
            and tuple(sorted(set(self.taps))) == self.taps
            and 0 <= self.taps[0] <= self.taps[-1] < self.layers
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextDecoderConfig:
    """The decoder that refines texts by what is in the image."""

    width: int = 256
    """Channels of a token."""

    heads: int = 4
    """Attention heads."""

    layers: int = 3
    """Decoder layers."""

    dropout: float = 0.1
    """Share of what a layer adds that training drops."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseClipConfig(Architecture):
    """All sizes of a DenseCLIP."""

    family: ClassVar[str] = "denseclip"

    forms: ClassVar[tuple[Form, ...]] = ("semantic",)

    templates: ClassVar[str] = "bare"

    closed: ClassVar[bool] = True

    image: ResNetConfig | VitConfig
    """CLIP's image encoder."""

    text: ClipTextConfig
    """CLIP's text encoder; `context_length` counts the learned contexts too."""

    embed_dim: int
    """Channels of the space that images and text share."""

    contexts: int = 8
    """Learned vectors between the start token and the name."""

    context_decoder: ContextDecoderConfig = ContextDecoderConfig()
    """What refines texts by the image."""

    neck_channels: int = 256
    """Channels of the feature pyramid."""

    head_channels: int = 256
    """Channels of the dense head."""

    head_dropout: float = 0.1
    """Share of the head's channels that training drops before the last layer."""

    num_classes: int = 150
    """Names of the closed vocabulary: the score map and the last layer have a channel for each."""

    windows: WindowConfig | None
    """How inference slides over an image; None decodes it whole."""

    tau: float = 0.07
    """Temperature of the score map in the auxiliary loss, and nowhere else."""

    size_divisibility: int = 32
    """Inputs share a batch when they agree in their sizes up to a multiple of this many pixels."""

    def __post_init__(self) -> None:
        checks = {
            "image": self.image.fits,
            "text.heads": self.text.width % self.text.heads == 0,
            "text.kept_tokens": self.text.kept_tokens_fit,
            "contexts": 0 <= self.contexts <= self.text.context_length - 3,
            "context_decoder.heads": self.context_decoder.width % self.context_decoder.heads == 0,
            "num_classes": self.num_classes >= 1,
            "windows": self.windows is None or 0 < self.windows.stride <= self.windows.side,
        }
        wrong = [name for name, fine in checks.items() if not fine]
        if wrong:
            raise UsageError(
                f"DenseCLIP configuration: {', '.join(wrong)} does not fit the other sizes. "
                "See models/denseclip/config.py."
            )

    @property
    def name_tokens(self) -> int:
        """Tokens that a name may have, start and end included."""
        return self.text.context_length - self.contexts

    @property
    def sliding(self) -> str | None:
        """See `Architecture.sliding`."""
        return None if self.windows is None else str(self.windows)

    def fitted_to(self, state: "Mapping[str, Tensor]") -> "DenseClipConfig":
        """See `Architecture.fitted_to`: the last layer's rows are the vocabulary's names."""
        last = state.get("decode_head.conv_seg.weight")
        known = last is not None and last.dim() == 4 and len(last) > 0
        return replace(self, num_classes=len(last)) if last is not None and known else self


_TEXT = ClipTextConfig(context_length=13, width=512, heads=8, layers=12)

DENSECLIP_RN50 = DenseClipConfig(
    image=ResNetConfig(image_size=512, layers=(3, 4, 6, 3)),
    text=_TEXT,
    embed_dim=1024,
    windows=WindowConfig(side=512, stride=341),
)
"""The published DenseCLIP on CLIP ResNet-50, for ADE20K's 150 names."""

DENSECLIP_RN101 = DenseClipConfig(
    image=ResNetConfig(image_size=512, layers=(3, 4, 23, 3)),
    text=_TEXT,
    embed_dim=512,
    windows=WindowConfig(side=512, stride=341),
)
"""The published DenseCLIP on CLIP ResNet-101, for ADE20K's 150 names."""

DENSECLIP_VIT_B = DenseClipConfig(
    image=VitConfig(image_size=640, layers=12, width=768, heads=12, taps=(3, 5, 7, 11)),
    text=_TEXT,
    embed_dim=512,
    windows=WindowConfig(side=640, stride=426),
)
"""The published DenseCLIP on CLIP ViT-B/16, for ADE20K's 150 names."""

DENSECLIP_TINY = DenseClipConfig(
    image=VitConfig(image_size=128, patch_size=8, layers=6, width=128, heads=4, taps=(1, 2, 3, 5)),
    text=ClipTextConfig(
        context_length=13, width=64, heads=2, layers=2, vocab_size=len(SCENE_TOKENS), kept_tokens=SCENE_TOKENS
    ),
    embed_dim=64,
    context_decoder=ContextDecoderConfig(width=64, heads=2, layers=2),
    neck_channels=64,
    head_channels=64,
    num_classes=48,
    windows=WindowConfig(side=128, stride=85),
)
"""A DenseCLIP for scenes of 128 x 128 pixels, on the towers that the bundled SAN has."""
