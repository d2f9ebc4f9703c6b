"""How the sizes of a SAN become its model, and the model a segmenter."""

from torch import nn

from maskmill.models.architecture import Precision
from maskmill.models.family import Family
from maskmill.models.resize import ResizeRule
from maskmill.models.san.config import SanConfig
from maskmill.models.san.model import San, empty
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.san.windows import SlidingSan
from maskmill.models.segmenter import Segmenter


class SanFamily(Family):
    """See `Family`.

    Args:
        config: all sizes.
    """

    def __init__(self, config: SanConfig) -> None:
        self.config = config

    def empty(self) -> San:
        """See `Family.empty`."""
        return empty(self.config)

    def segmenter(
        self, model: nn.Module, *, name: str, weights: str, rule: ResizeRule, dtype: Precision
    ) -> SanSegmenter:
        """See `Family.segmenter`."""
        assert isinstance(model, San), "made by this family"
        return SanSegmenter(model, name=name, weights=weights, rule=rule, dtype=dtype)

    def slide(self, segmenter: Segmenter, scale: float) -> SlidingSan:
        """See `Family.slide`."""
        assert isinstance(segmenter, SanSegmenter), "made by this family"
        return SlidingSan(segmenter, scale)
