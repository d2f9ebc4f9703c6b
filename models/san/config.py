"""Sizes of a SAN, and the published ones. Plain data: nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from maskmill.models.architecture import Architecture, Form
from maskmill.models.clip.config import ClipConfig, ClipTextConfig, ClipVisionConfig
from maskmill.models.errors import UsageError

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, kw_only=True, slots=True)
class SideVitConfig:
    """The side adapter's own ViT."""

    width: int
    """Channels of a token."""

    heads: int
    """Attention heads of a block."""

    depth: int
    """Transformer blocks."""

    patch_size: int
    """Side of a patch in pixels, and the stride of mask logits."""

    image_size: int
    """Side in pixels of the square images that the stored position embedding covers."""

    @property
    def grid(self) -> int:
        """Rows (and columns) of the stored position embedding."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskDecoderConfig:
    """The MLPs that turn side tokens into mask logits and attention biases."""

    bias_heads: int
    """Heads of the attention bias; as many as CLIP's image tower has."""

    embed_channels: int = 256
    """Channels in which queries and pixels meet."""

    mlp_channels: int = 256
    """Hidden channels of each MLP."""

    mlp_layers: int = 3
    """Layers of each MLP."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SanConfig(Architecture):
    """All sizes of a SAN."""

    family: ClassVar[str] = "san"

    forms: ClassVar[tuple[Form, ...]] = ("general", "semantic", "queries")

    templates: ClassVar[str] = "vild14"

    compiles: ClassVar[bool] = True

    takes_windows: ClassVar[bool] = True

    ignored: ClassVar[frozenset[str]] = frozenset({"criterion.empty_weight", "ov_classifier.attn_mask"})
    """A loss weight and the causal mask."""

    clip: ClipConfig
    """The frozen CLIP."""

    clip_resolution: float
    """CLIP sees the input scaled by this factor."""

    split_layer: int
    """Blocks of CLIP before this index are shallow: they run once and feed the side adapter. The rest recognise."""

    num_queries: int = 100
    """Masks proposed for an image."""

    side_vit: SideVitConfig
    """The side adapter's ViT."""

    fusion: tuple[tuple[int, int], ...]
    """Pairs (side block, CLIP block): before that side block CLIP's tokens after so many of its blocks are added."""

    deep_supervision: tuple[int, ...]
    """Side depths (blocks run) that training supervises; the largest is the depth that inference reads."""

    mask_decoder: MaskDecoderConfig
    """The mask decoder."""

    num_classes: int = 171
    """Classes of the training vocabulary. Inference takes any; checkpoints carry a loss weight of this many + 1."""

    size_divisibility: int = 32
    """Inputs are padded to a multiple of this many pixels."""

    train_num_points: int = 12544
    """Points of a mask that training's losses look at."""

    def __post_init__(self) -> None:
        vision = self.clip.vision_cfg
        checks = {
            "split_layer": 0 < self.split_layer < vision.layers,
            "fusion": all(0 <= a < self.side_vit.depth and 0 <= b <= self.split_layer for a, b in self.fusion),
            "deep_supervision": bool(self.deep_supervision) and max(self.deep_supervision) == self.side_vit.depth,
            "text_cfg.kept_tokens": self.clip.text_cfg.kept_tokens_fit,
            "mask_decoder.bias_heads": self.mask_decoder.bias_heads == vision.heads,
            "clip_resolution": 0.0 < self.clip_resolution <= 1.0,
            "size_divisibility": self.size_divisibility % self.side_vit.patch_size == 0,
        }
        wrong = [name for name, fine in checks.items() if not fine]
        if wrong:
            raise UsageError(
                f"SAN configuration: {', '.join(wrong)} does not fit the other sizes. See models/san/config.py."
            )

    @classmethod
    def parse(cls, mapping: Mapping[str, Any]) -> "SanConfig":
        """A configuration from plain data (JSON, YAML).

        Args:
            mapping: this class's fields, `fusion` as a mapping; `clip` may also be the name of a model of open_clip.

        Raises:
            UsageError: a field is missing or unknown, or the sizes don't fit each other.
        """
        values = dict(mapping)
        clip = values.get("clip")
        if isinstance(clip, str):
            clip = _open_clip_config(clip)
        values["clip"] = _parsed(ClipConfig, clip, vision_cfg=ClipVisionConfig, text_cfg=ClipTextConfig)
        values["side_vit"] = _parsed(SideVitConfig, values.get("side_vit"))
        values["mask_decoder"] = _parsed(MaskDecoderConfig, values.get("mask_decoder"))
        fusion = values.get("fusion")
        if isinstance(fusion, Mapping):
            values["fusion"] = tuple(sorted((int(block), int(layer)) for block, layer in fusion.items()))
        depths = values.get("deep_supervision")
        if isinstance(depths, list | tuple):
            values["deep_supervision"] = tuple(depths)
        parsed: SanConfig = _parsed(cls, values)
        return parsed


def _open_clip_config(name: str) -> Mapping[str, Any]:
    import open_clip

    found: Mapping[str, Any] | None = open_clip.get_model_config(name)
    if found is None:
        raise UsageError(f"clip {name!r}: open_clip has no such model. Try 'ViT-B-16-quickgelu', or give its sizes.")
    return found


def _parsed(cls: Any, mapping: Any, **nested: Any) -> Any:
    """`cls` from a mapping of its fields; fields named in `nested` are mappings themselves."""
    if not isinstance(mapping, Mapping):
        raise UsageError(f"SAN configuration: {cls.__name__} {mapping!r}: expected a mapping of its fields.")
    known = {field.name for field in fields(cls)}
    if unknown := sorted(set(mapping) - known):
        raise UsageError(f"SAN configuration: {cls.__name__} has no {', '.join(unknown)}. Fields are {sorted(known)}.")
    values = {name: _parsed(nested[name], value) if name in nested else value for name, value in mapping.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise UsageError(f"SAN configuration: {str(error).replace('__init__() ', '')}. Add the field.") from error


SAN_VIT_B16 = SanConfig(
    clip=ClipConfig(
        embed_dim=512,
        quick_gelu=True,
        vision_cfg=ClipVisionConfig(image_size=224, patch_size=16, layers=12, width=768),
        text_cfg=ClipTextConfig(width=512, heads=8, layers=12),
    ),
    clip_resolution=0.5,
    split_layer=9,
    side_vit=SideVitConfig(width=240, heads=6, depth=8, patch_size=16, image_size=640),
    fusion=((0, 0), (1, 3), (2, 6), (3, 9)),
    deep_supervision=(7, 8),
    mask_decoder=MaskDecoderConfig(bias_heads=12),
)
"""The published SAN on CLIP ViT-B/16 (open_clip's ViT-B-16-quickgelu)."""

SAN_VIT_L14 = SanConfig(
    clip=ClipConfig(
        embed_dim=768,
        quick_gelu=True,
        vision_cfg=ClipVisionConfig(image_size=336, patch_size=14, layers=24, width=1024),
        text_cfg=ClipTextConfig(width=768, heads=12, layers=12),
    ),
    clip_resolution=0.7,
    split_layer=18,
    side_vit=SideVitConfig(width=240, heads=6, depth=8, patch_size=16, image_size=640),
    fusion=((0, 0), (1, 6), (2, 12), (3, 18)),
    deep_supervision=(7, 8),
    mask_decoder=MaskDecoderConfig(bias_heads=16),
)
"""The published SAN on CLIP ViT-L/14 at 336 pixels (open_clip's ViT-L-14-336-quickgelu)."""

SCENE_TOKENS = (
    *(267, 269, 320, 518, 525, 530, 533, 537, 539, 550, 589, 736, 997, 1125, 1449, 1470, 1565, 1573, 1704, 1746),
    *(1901, 2390, 2442, 2540, 2583, 3417, 3562, 3638, 4287, 4481, 5094, 5496, 5922, 8675, 9518, 10712, 14615),
    *(27054, 49406, 49407),
)
"""Tokens of CLIP's byte-pair encoding in prompts and captions of scenes: names and attributes in the shipped templates,
commas and "and" of captions, start and end."""

SAN_TINY = SanConfig(
    clip=ClipConfig(
        embed_dim=64,
        quick_gelu=True,
        vision_cfg=ClipVisionConfig(image_size=64, patch_size=8, layers=6, width=128, head_width=32),
        text_cfg=ClipTextConfig(width=64, heads=2, layers=2, vocab_size=len(SCENE_TOKENS), kept_tokens=SCENE_TOKENS),
    ),
    clip_resolution=0.5,
    split_layer=4,
    num_queries=20,
    side_vit=SideVitConfig(width=96, heads=4, depth=4, patch_size=8, image_size=128),
    fusion=((0, 0), (1, 2), (2, 4)),
    deep_supervision=(3, 4),
    mask_decoder=MaskDecoderConfig(bias_heads=4, embed_channels=64, mlp_channels=64),
    num_classes=48,
    size_divisibility=16,
    train_num_points=1024,
)
"""A SAN for scenes of 128 x 128 pixels that labels dozens of images a second on one CPU core."""
