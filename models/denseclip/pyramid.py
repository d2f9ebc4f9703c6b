"""From the one stride of a ViT to strides 4, 8, 16 and 32: a norm each, then deconvolutions up or max pools down."""

from torch import nn


def pyramid(width: int, patch_size: int) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
    """The four scales, each from a map at the ViT's stride to one of its own, under the released indices.

    Args:
        width: channels of the ViT's tokens.
        patch_size: its stride, 16 or 8.
    """

    def norm() -> nn.Module:
        return nn.GroupNorm(1, width)

    def twice() -> nn.Module:
        return nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)

    if patch_size == 8:
        return (
            nn.Sequential(norm(), twice()),
            norm(),
            nn.Sequential(norm(), nn.MaxPool2d(2)),
            nn.Sequential(norm(), nn.MaxPool2d(4)),
        )
    return (
        nn.Sequential(norm(), twice(), nn.BatchNorm2d(width), nn.GELU(), twice()),
        nn.Sequential(norm(), twice()),
        norm(),
        nn.Sequential(norm(), nn.MaxPool2d(2)),
    )
