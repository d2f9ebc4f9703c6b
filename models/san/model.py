"""SAN whole: normalised images and class weights in, mask and class logits out, for inference and for training."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskmill.models.san.classifier import Classifier
from maskmill.models.san.config import SanConfig
from maskmill.models.san.recognition import Recognition, pool_bias
from maskmill.models.san.side_adapter import SideAdapter
from maskmill.models.san.visual import VisualExtractor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SanOutput:
    """What SAN says at one depth of its side ViT, for B images and Q queries."""

    mask_logits: Tensor
    """[B, Q, h, w] at the side ViT's stride, padding included."""

    class_logits: Tensor
    """[B, Q, N + 1], background last."""


class San(nn.Module):
    """The Side Adapter Network, under the parameter names of the released checkpoints.

    CLIP is frozen but for its visual position embedding; what trains is that, the side adapter and the background.

    Args:
        config: all sizes. Parameters are uninitialised: load or fill them.
    """

    def __init__(self, config: SanConfig) -> None:
        super().__init__()
        self.config = config
        self.side_adapter_network = SideAdapter(config)
        self.clip_visual_extractor = VisualExtractor(config)
        self.clip_rec_head = Recognition(config)
        self.ov_classifier = Classifier(config)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(is_trainable(name))

    def forward(
        self, images: Tensor, class_weights: Tensor, depths: Sequence[int] | None = None
    ) -> tuple[SanOutput, ...]:
        """Mask and class logits.

        Args:
            images: float [B, 3, H, W], normalised with CLIP's mean and deviation, then padded with zeros, right and
                bottom, to a multiple of the configuration's `size_divisibility`.
            class_weights: [N + 1, embed_dim], normalised, background last (`ov_classifier.class_weights`).
            depths: side depths to read; the last one alone by default, `config.deep_supervision` for training.

        Returns:
            One output for each depth, in the order asked for.
        """
        masks, embeddings = self.propose(images, depths)
        class_logits = self.ov_classifier(embeddings, class_weights).chunk(len(masks), dim=1)
        return tuple(
            SanOutput(mask_logits=mask_logits, class_logits=logits)
            for mask_logits, logits in zip(masks, class_logits, strict=True)
        )

    def propose(self, images: Tensor, depths: Sequence[int] | None = None) -> tuple[tuple[Tensor, ...], Tensor]:
        """All that doesn't depend on class names: mask logits at each depth, and what the classifier is asked about.

        Args:
            images: as for `forward`.
            depths: as for `forward`.

        Returns:
            [B, Q, h, w] for each depth, and embeddings [B, depths * Q, embed_dim], each of length 1, depth by depth.
        """
        asked = (self.config.side_vit.depth,) if depths is None else tuple(depths)
        clip = self.clip_visual_extractor(self.clip_visual_extractor.clip_input(images))
        side = self.side_adapter_network(images, clip, asked)
        decoder = self.side_adapter_network.mask_decoder
        decoded = [decoder(side[depth].queries, side[depth].pixels, side[depth].grid) for depth in asked]
        pooled = [pool_bias(masks.attention_bias, clip.grid) for masks in decoded]
        # Queries never see one another: those of all depths share one pass through CLIP's deep blocks.
        embeddings = self.clip_rec_head(clip, torch.cat(pooled, dim=2))
        return tuple(masks.mask_logits for masks in decoded), embeddings


def hold_products_in(model: San, dtype: torch.dtype) -> None:
    """Keep in a type what autocast would cast to it on every pass: weights of products over image tokens.

    Numbers stay what autocast makes them; norms, position embeddings, the bias's scale and the text tower keep theirs.
    Not for a model that trains.
    """
    for part in (model.clip_visual_extractor, model.clip_rec_head, model.side_adapter_network):
        for name, module in part.named_modules():
            products = isinstance(module, nn.Linear | nn.Conv2d | nn.MultiheadAttention)
            if products and not name.endswith("bias_scaling"):
                module.to(dtype)


def is_trainable(name: str) -> bool:
    """Whether the parameter of this name trains (section 4 of the paper; the released code's flags)."""
    return name.startswith("side_adapter_network.") or name in (
        "clip_visual_extractor.positional_embedding",
        "ov_classifier.bg_embed",
    )


def empty(config: SanConfig) -> San:
    """A SAN without storage (on the meta device): names, shapes and types, to be given its tensors by `assign`."""
    with torch.device("meta"):
        return San(config)
