"""san-tiny's sizes with the golden rule's weights and CLIP's whole vocabulary: for tests that need no meaning."""

from dataclasses import replace

from maskmill.models import zoo
from maskmill.models.san.config import SAN_TINY
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.san.untrained import SAN_TINY_FILL

_TEXT = replace(SAN_TINY.clip.text_cfg, vocab_size=49408, kept_tokens=None)
CONFIG = replace(SAN_TINY, clip=replace(SAN_TINY.clip, text_cfg=_TEXT))
"""As `SAN_TINY`, but its text tower has a row for every token."""


def untrained_tiny(dtype: zoo.Precision = "float32", device: str = "cpu") -> SanSegmenter:
    """Reads any name, and its labels follow from the rule alone: they stay when trained weights change."""
    state = SAN_TINY_FILL.state(zoo.shapes(CONFIG))
    return zoo.build(CONFIG, state, name="san-tiny", rule=zoo.MODELS["san-tiny"].rule, device=device, dtype=dtype)
