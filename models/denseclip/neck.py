"""The neck: a feature pyramid network (FPN, CVPR 2017) without any activation."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class Convolution(nn.Module):
    """A convolution under the name that released checkpoints have for it."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)

    def forward(self, features: Tensor) -> Tensor:
        """A map [B, inputs, rows, columns] to [B, outputs, rows, columns]."""
        output: Tensor = self.conv(features)
        return output


class Neck(nn.Module):
    """Coarse levels added to finer ones, top down.

    Args:
        inputs: channels of each level.
        channels: of each level that comes out.
    """

    def __init__(self, inputs: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(Convolution(count, channels, 1) for count in inputs)
        self.fpn_convs = nn.ModuleList(Convolution(channels, channels, 3) for _ in inputs)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps of each level, fine to coarse, to as many of the same sizes."""
        laterals = [lateral(level) for lateral, level in zip(self.lateral_convs, levels, strict=True)]
        for i in range(len(laterals) - 1, 0, -1):
            # By size, not by factor: rows and columns that don't divide lose a half on the way down.
            enlarged = functional.interpolate(laterals[i], size=laterals[i - 1].shape[2:], mode="nearest")
            laterals[i - 1] = laterals[i - 1] + enlarged
        return tuple(output(lateral) for output, lateral in zip(self.fpn_convs, laterals, strict=True))
