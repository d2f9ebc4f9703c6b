"""The image encoder on CLIP's ResNet: four stages and the attention pool."""

import torch
from torch import Tensor, nn

from maskmill.models.denseclip.attention_pool import AttentionPool
from maskmill.models.denseclip.config import ResNetConfig
from maskmill.models.denseclip.image_features import ImageFeatures


class ResNetEncoder(nn.Module):
    """CLIP's ResNet (a stem of three convolutions, average pools instead of strides), under CLIP's names.

    Args:
        config: its sizes.
        embed_dim: channels of the embeddings.
    """

    def __init__(self, config: ResNetConfig, embed_dim: int) -> None:
        super().__init__()
        width = config.width
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        inputs = (width, *config.channels)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _stage(inputs[i], width * 2**i, blocks, stride=1 if i == 0 else 2) for i, blocks in enumerate(config.layers)
        )
        self.attnpool = AttentionPool(config.channels[-1], embed_dim, config.heads, config.grid)

    def forward(self, images: Tensor) -> ImageFeatures:
        """Normalised images [B, 3, H, W], any size of 32 or more, to features."""
        hidden = images
        for convolution, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            hidden = torch.relu(norm(convolution(hidden)))
        hidden = self.avgpool(hidden)
        levels = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            hidden = stage(hidden)
            levels.append(hidden)
        whole, dense = self.attnpool(hidden)
        return ImageFeatures(levels=tuple(levels), whole=whole, dense=dense)


def _stage(inputs: int, width: int, blocks: int, *, stride: int) -> nn.Sequential:
    """Bottleneck blocks, open_clip's; the first one changes stride and channels."""
    from open_clip.modified_resnet import Bottleneck

    outputs = width * Bottleneck.expansion
    return nn.Sequential(Bottleneck(inputs, width, stride), *(Bottleneck(outputs, width) for _ in range(blocks - 1)))
