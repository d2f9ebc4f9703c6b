"""Multiply-accumulates by part, against DESIGN's table and against what PyTorch counts in our model."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from maskmill.models.resize import batch_of
from maskmill.models.san.config import SAN_TINY, SAN_VIT_B16, SAN_VIT_L14, SanConfig
from maskmill.models.san.work import macs
from maskmill.pipeline.bench.images import photo
from maskmill.pipeline.bench.subject import made_up
from tests.untrained_tiny import untrained_tiny


@pytest.mark.parametrize(
    ("config", "shallow", "side", "recognition"),
    [(SAN_VIT_B16, 28.0, 23.4, 11.8), (SAN_VIT_L14, 271.5, 24.7, 100.6)],
    ids=["B16", "L14"],
)
def test_they_are_those_of_the_published_models(
    config: SanConfig, shallow: float, side: float, recognition: float
) -> None:
    found = macs(config, (640, 640), 171)
    assert [round(part / 1e9, 1) for part in (found.shallow, found.side, found.recognition)] == [
        shallow,
        side,
        recognition,
    ]
    assert found.whole == pytest.approx(found.shallow + found.side + found.recognition + 100 * 512 * 172, rel=2e-3)


def test_the_classifier_grows_with_the_names_and_nothing_else_does() -> None:
    few, many = macs(SAN_VIT_B16, (640, 640), 171), macs(SAN_VIT_B16, (640, 640), 21_000)
    assert many.classifier / few.classifier == pytest.approx(21_001 / 172)
    assert many.whole - few.whole == pytest.approx(many.classifier - few.classifier)


def test_our_shallow_blocks_do_the_work_that_is_counted() -> None:
    tiny = untrained_tiny("float64")  # in float32 oneDNN computes, which the counter does not know
    batch = batch_of([photo(128, 96, 0)], [(128, 96)], tiny.rule)
    visual = tiny.model.clip_visual_extractor
    images = visual.clip_input(tiny.normalised(batch.pixels, batch.sizes))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        visual(images)
    assert counter.get_total_flops() / 2 == pytest.approx(macs(SAN_TINY, (128, 96), 9).shallow, rel=0.02)
    assert made_up(9, 4).features.shape == (9, 4)
