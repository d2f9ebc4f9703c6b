"""The dense head: Semantic FPN's (Kirillov et al., CVPR 2019), levels enlarged step by step and added up."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvolutionBlock(nn.Module):
    """Convolution, batch norm, ReLU, under the names that released checkpoints have for them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        """A map [B, inputs, rows, columns] to [B, outputs, rows, columns]."""
        return torch.relu(self.bn(self.conv(features)))


class Twice(nn.Module):
    """Bilinear, to twice the rows and columns; corners not aligned."""

    def forward(self, features: Tensor) -> Tensor:
        """A map [B, C, rows, columns] to [B, C, 2 rows, 2 columns]."""
        return functional.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)


class Head(nn.Module):
    """Class logits at the finest level's stride.

    Args:
        inputs: channels of every level.
        channels: of the head.
        levels: how many levels, each at half the resolution of the one before.
        num_classes: names.
        dropout: share of channels that training drops before the last layer.
    """

    def __init__(self, inputs: int, channels: int, levels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.scale_heads = nn.ModuleList()
        for level in range(levels):
            steps: list[nn.Module] = []
            for step in range(max(1, level)):
                steps.append(ConvolutionBlock(channels if step else inputs, channels))
                if level:
                    steps.append(Twice())
            self.scale_heads.append(nn.Sequential(*steps))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Maps of each level, fine to coarse, to logits [B, num_classes, rows, columns] of the finest."""
        total: Tensor | None = None
        for scale, level in zip(self.scale_heads, levels, strict=True):
            grown = scale(level)
            if total is None:
                total = grown
            else:
                total = total + functional.interpolate(
                    grown, size=total.shape[2:], mode="bilinear", align_corners=False
                )
        logits: Tensor = self.conv_seg(self.dropout(total))
        return logits
