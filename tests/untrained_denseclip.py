"""denseclip-tiny with the golden rule's weights: for tests that need no meaning."""

from maskmill.models import zoo
from maskmill.models.denseclip.config import DENSECLIP_TINY
from maskmill.models.denseclip.segmenter import DenseClipSegmenter
from tests.golden_fill import state


def untrained_denseclip() -> DenseClipSegmenter:
    """Reads the scenes' words."""
    name = "denseclip-tiny"
    return zoo.build(DENSECLIP_TINY, state(zoo.shapes(DENSECLIP_TINY), "tiny/"), name=name, rule=zoo.MODELS[name].rule)
