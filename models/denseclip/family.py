"""How the sizes of a DenseCLIP become its model, and the model a segmenter."""

from torch import nn

from maskmill.models.architecture import Precision
from maskmill.models.denseclip.config import DenseClipConfig
from maskmill.models.denseclip.model import DenseClip, empty
from maskmill.models.denseclip.segmenter import DenseClipSegmenter
from maskmill.models.family import Family
from maskmill.models.resize import ResizeRule


class DenseClipFamily(Family):
    """See `Family`.

    Args:
        config: all sizes.
    """

    def __init__(self, config: DenseClipConfig) -> None:
        self.config = config

    def empty(self) -> DenseClip:
        """See `Family.empty`."""
        return empty(self.config)

    def segmenter(
        self, model: nn.Module, *, name: str, weights: str, rule: ResizeRule, dtype: Precision
    ) -> DenseClipSegmenter:
        """See `Family.segmenter`."""
        assert isinstance(model, DenseClip), "made by this family"
        return DenseClipSegmenter(model, name=name, weights=weights, rule=rule, dtype=dtype)
