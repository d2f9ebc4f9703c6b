"""What tests of DenseCLIP share: the tiny golden models, and label sets that fit them."""

import json
from pathlib import Path

from maskmill.models.denseclip.segmenter import DenseClipSegmenter
from maskmill.models.resize import ResizeRule
from maskmill.models.vocabulary import Entry, Vocabulary
from tests.golden_denseclip import segmenter_of

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "denseclip"


def tiny(name: str = "tinyvit", *, float64: bool = False) -> DenseClipSegmenter:
    """The model of a tiny set, for images of its own windows' size."""
    segmenter = segmenter_of(described(name), float64=float64)
    segmenter.rule = ResizeRule(short_side=64, long_side_cap=256, multiple=32)
    return segmenter


def described(name: str) -> dict:
    """A set's description."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def vocabulary(*names: str) -> Vocabulary:
    """Names with ids from 0."""
    return Vocabulary(tuple(Entry(vocab_id=i, name=name) for i, name in enumerate(names)))
