"""DenseCLIP whole: normalised images and text features in, class logits and score map out."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskmill.models.denseclip.config import LEVELS, DenseClipConfig, VitConfig
from maskmill.models.denseclip.context_decoder import ContextDecoder
from maskmill.models.denseclip.head import Head
from maskmill.models.denseclip.neck import Neck
from maskmill.models.denseclip.resnet import ResNetEncoder
from maskmill.models.denseclip.score_map import score_map
from maskmill.models.denseclip.text_encoder import TextEncoder
from maskmill.models.denseclip.vit import VitEncoder


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenseClipOutput:
    """What DenseCLIP says of B images and N names."""

    logits: Tensor
    """[B, N, rows, columns] at stride 4."""

    scores: Tensor
    """[B, N, rows, columns], cosines on the grid of CLIP's last map."""


class DenseClip(nn.Module):
    """DenseCLIP in its semantic form, under the parameter names of the released checkpoints.

    The text encoder is frozen; all else trains.

    Args:
        config: all sizes. Parameters are uninitialised: load or fill them.
    """

    def __init__(self, config: DenseClipConfig) -> None:
        super().__init__()
        self.config = config
        image, channels = config.image, list(config.image.channels)
        channels[image.score_level] += config.num_classes
        self.contexts = nn.Parameter(torch.empty(1, config.contexts, config.text.width))
        self.gamma = nn.Parameter(torch.empty(config.embed_dim))
        self.backbone = (
            VitEncoder(image, config.embed_dim)
            if isinstance(image, VitConfig)
            else ResNetEncoder(image, config.embed_dim)
        )
        self.text_encoder = TextEncoder(config.text, config.embed_dim)
        self.context_decoder = ContextDecoder(config.context_decoder, config.embed_dim)
        self.neck = Neck(channels, config.neck_channels)
        self.decode_head = Head(
            config.neck_channels, config.head_channels, LEVELS, config.num_classes, config.head_dropout
        )
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(is_trainable(name))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Text features [N, embed_dim] of names (int [N, name_tokens]), not normalised: the same for every image."""
        features: Tensor = self.text_encoder(tokens, self.contexts)
        return features

    def forward(self, images: Tensor, texts: Tensor) -> DenseClipOutput:
        """Logits and score map.

        Args:
            images: float [B, 3, H, W], normalised with CLIP's mean and deviation, 32 pixels or more on a side.
            texts: [N, embed_dim], what `encode_text` gave for the names in their trained order.
        """
        features = self.backbone(images)
        cells = features.dense.flatten(2).transpose(1, 2)
        image = torch.cat([features.whole[:, None], cells], dim=1)
        asked = texts.expand(len(images), -1, -1)
        refined = asked + self.gamma * self.context_decoder(asked, image)
        scores = score_map(features.dense, refined)
        levels = list(features.levels)
        place = self.config.image.score_level
        levels[place] = torch.cat([levels[place], scores.to(levels[place].dtype)], dim=1)
        return DenseClipOutput(logits=self.decode_head(self.neck(levels)), scores=scores)


def is_trainable(name: str) -> bool:
    """Whether the parameter of this name trains; as published, a step size of 0 freezes the text encoder."""
    return not name.startswith("text_encoder.")


def empty(config: DenseClipConfig) -> DenseClip:
    """A DenseCLIP without storage (on the meta device): names, shapes and types; its tensors come by `assign`."""
    with torch.device("meta"):
        return DenseClip(config)
