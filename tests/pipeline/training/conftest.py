"""What trainings in tests start from."""

from pathlib import Path

import pytest

from maskmill.models import checkpoint, zoo
from maskmill.models.san.config import SAN_TINY
from maskmill.models.san.initial import BACKGROUND, SIDE
from maskmill.models.san.untrained import FillRule


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A tiny CLIP under a SAN's names, untrained."""
    path = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    state = FillRule(salt="clip/", overrides={"ov_classifier.logit_scale": 3.0}).state(zoo.shapes(SAN_TINY))
    checkpoint.save_safetensors(
        {name: tensor for name, tensor in state.items() if not name.startswith(SIDE) and name != BACKGROUND}, path
    )
    return path
