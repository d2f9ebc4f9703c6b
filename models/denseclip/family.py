"""How the sizes of a DenseCLIP become its model, and the model a segmenter."""

from collections.abc import Sequence

from torch import nn

from maskmill.models.architecture import Precision
from maskmill.models.clip.tokenizer import Tokenizer
from maskmill.models.denseclip.config import DenseClipConfig
from maskmill.models.denseclip.model import DenseClip, empty
from maskmill.models.denseclip.names import check_names, check_templates
from maskmill.models.denseclip.segmenter import DenseClipSegmenter
from maskmill.models.family import Family
from maskmill.models.resize import ResizeRule
from maskmill.models.vocabulary import Vocabulary


class DenseClipFamily(Family):
    """See `Family`.

    Args:
        config: all sizes.
    """

    config: DenseClipConfig

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

    def check_text(self, vocabulary: Vocabulary, templates: Sequence[str], *, model: str) -> None:
        """See `Family.check_text`."""
        check_templates(templates, self.config, model=model)
        check_names(vocabulary, self.config, model=model)
        Tokenizer(self.config.text, model=model)(vocabulary.names)
