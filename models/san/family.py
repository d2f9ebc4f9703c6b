"""How the sizes of a SAN become its model, and the model a segmenter."""

from collections.abc import Sequence

from torch import nn

from maskmill.models.architecture import Precision
from maskmill.models.clip.tokenizer import Tokenizer
from maskmill.models.family import Family
from maskmill.models.resize import ResizeRule
from maskmill.models.san.config import SanConfig
from maskmill.models.san.model import San, empty
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.san.windows import SlidingSan
from maskmill.models.segmenter import Segmenter
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.prompts import prompts
from maskmill.models.vocabulary.tokens import check_tokens


class SanFamily(Family):
    """See `Family`.

    Args:
        config: all sizes.
    """

    config: SanConfig

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

    def check_text(self, vocabulary: Vocabulary, templates: Sequence[str], *, model: str) -> None:
        """See `Family.check_text`."""
        text = self.config.clip.text_cfg
        check_tokens(vocabulary, templates, context_length=text.context_length)
        if text.kept_tokens is not None:
            sentences, _ = prompts(vocabulary, templates)
            Tokenizer(text, model=model)(sentences)

    def slide(self, segmenter: Segmenter, scale: float) -> SlidingSan:
        """See `Family.slide`."""
        assert isinstance(segmenter, SanSegmenter), "made by this family"
        return SlidingSan(segmenter, scale)
