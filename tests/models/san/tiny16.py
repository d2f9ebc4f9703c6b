"""What tests of SAN share: the tiny16 golden model, its images as normalised tensors, class weights by rule."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models.san.config import SanConfig
from maskmill.models.san.segmenter import SanSegmenter
from tests.golden import segmenter_of

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "san"


def tiny16(*, float64: bool = False) -> SanSegmenter:
    """The model of the tiny16 set."""
    return segmenter_of(json.loads((GOLDEN / "tiny16.json").read_text()), float64=float64)


def tiny16_config() -> SanConfig:
    return SanConfig.parse(json.loads((GOLDEN / "tiny16.json").read_text())["config"])


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normally distributed numbers, the same for the same arguments."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def class_weights(segmenter: SanSegmenter, names: int = 6) -> Tensor:
    """Made-up class weights with the model's own background."""
    background = segmenter.model.ov_classifier.bg_embed
    features = functional.normalize(draw(names, background.shape[1], seed=99, dtype=background.dtype), dim=-1)
    return segmenter.model.ov_classifier.class_weights(features)
