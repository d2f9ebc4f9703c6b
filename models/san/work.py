"""How many multiplications SAN is, part by part, counted from its sizes: what utilisation is measured against."""

from dataclasses import dataclass
from itertools import pairwise

from maskmill.models.resize import Size
from maskmill.models.san.config import SanConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Macs:
    """Multiply-accumulates of one image, by part, as the published form does them.

    Products of matrices alone: norms, softmax and resizing are not in it. Masks are counted as the authors' code makes
    them, and recognition with each token attending to every other; a form that does with less uses more than its share
    of the floor, which is the point of counting the same work for all.
    """

    shallow: float
    """CLIP's shallow blocks."""

    side_vit: float
    """The side ViT with its fusion."""

    mask_decoder: float
    """Query . pixel products and the MLPs before them."""

    recognition: float
    """CLIP's deep blocks over SLS tokens and CLIP's own."""

    classifier: float
    """Queries x names."""

    @property
    def side(self) -> float:
        """The side adapter network: side ViT and mask decoder."""
        return self.side_vit + self.mask_decoder

    @property
    def whole(self) -> float:
        """The model, without making segments."""
        return self.shallow + self.side + self.recognition + self.classifier


def macs(config: SanConfig, size: Size, names: int) -> Macs:
    """Multiply-accumulates of one image.

    Args:
        config: SAN's sizes.
        size: height, width of the padded input.
        names: classes asked about, background not counted.
    """
    vision, side, queries = config.clip.vision_cfg, config.side_vit, config.num_queries
    visual = _tokens(size, vision.patch_size, config.clip_resolution)
    pixels = _tokens(size, side.patch_size, 1.0)
    shallow: float = visual * 3 * vision.patch_size**2 * vision.width
    shallow += config.split_layer * _block(1 + visual, vision.width, vision.mlp_ratio)
    side_vit: float = (
        pixels * 3 * side.patch_size**2 * side.width + len(config.fusion) * visual * vision.width * side.width
    )
    side_vit += side.depth * _block(queries + pixels, side.width, 4.0)
    deep = vision.layers - config.split_layer
    recognition = deep * _block(queries + 1 + visual, vision.width, vision.mlp_ratio)
    recognition += queries * vision.width * config.clip.embed_dim
    return Macs(
        shallow=shallow,
        side_vit=side_vit,
        mask_decoder=_mask_decoder(config, pixels),
        recognition=recognition,
        classifier=queries * config.clip.embed_dim * (names + 1),
    )


def _tokens(size: Size, patch: int, scale: float) -> int:
    """Patches of an input of this height, width at a scale."""
    height, width = size
    return (int(height * scale) // patch) * (int(width * scale) // patch)


def _block(tokens: int, width: int, mlp_ratio: float) -> float:
    """A transformer block: projections of attention (4), MLP (2 x ratio), and scores and sums of values."""
    return tokens * width * width * (4 + 2 * mlp_ratio) + 2 * tokens * tokens * width


def _mask_decoder(config: SanConfig, pixels: int) -> float:
    decoder, width, queries = config.mask_decoder, config.side_vit.width, config.num_queries
    inner = [width, *[decoder.mlp_channels] * (decoder.mlp_layers - 1)]
    before = sum(a * b for a, b in pairwise(inner))
    by_query = queries * (before + decoder.mlp_channels * decoder.embed_channels)
    by_pixel = 2 * before + decoder.mlp_channels * decoder.embed_channels * (1 + decoder.bias_heads)
    products = queries * decoder.embed_channels * (1 + decoder.bias_heads)
    return by_query + pixels * (by_pixel + products)
