"""DenseCLIP whole: names and shapes of the released checkpoints, sizes, what trains."""

import json
from contextlib import nullcontext

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from maskmill.models import zoo
from maskmill.models.denseclip.config import (
    DENSECLIP_RN50,
    DENSECLIP_RN101,
    DENSECLIP_TINY,
    DENSECLIP_VIT_B,
    DenseClipConfig,
)
from maskmill.models.denseclip.model import empty
from tests.models.denseclip.plain_denseclip import GOLDEN, described, tiny

PUBLISHED = [("RN50", DENSECLIP_RN50), ("RN101", DENSECLIP_RN101), ("ViTB", DENSECLIP_VIT_B)]


@pytest.mark.parametrize(("keys", "config"), PUBLISHED)
def test_names_shapes_and_types_are_the_released_ones(keys: str, config: DenseClipConfig):
    released = json.loads((GOLDEN / f"keys_{keys}.json").read_text())
    mine = {
        name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
        for name, tensor in empty(config).state_dict().items()
    }
    assert mine == {name: value[:2] for name, value in released.items()}


@pytest.mark.parametrize(
    ("config", "whole", "without_text"),
    [
        (DENSECLIP_RN50, 113_905_910, 50_248_438),
        (DENSECLIP_RN101, 131_190_518, 67_795_190),
        (DENSECLIP_VIT_B, 168_668_822, 105_273_494),
    ],
)
def test_parameters_are_as_many_as_published(config: DenseClipConfig, whole: int, without_text: int):
    sizes = {name: parameter.numel() for name, parameter in empty(config).named_parameters()}
    assert sum(sizes.values()) == whole
    assert sum(size for name, size in sizes.items() if not name.startswith("text_encoder.")) == without_text


@pytest.mark.parametrize(("keys", "config"), PUBLISHED)
def test_the_text_encoder_is_frozen_and_all_else_trains(keys: str, config: DenseClipConfig):
    released = json.loads((GOLDEN / f"keys_{keys}.json").read_text())
    for name, parameter in empty(config).named_parameters():
        # A step size of 0 is how the released code freezes.
        assert parameter.requires_grad is (released[name][3] > 0), name


@pytest.mark.parametrize("size", [(32, 32), (33, 64), (50, 100)])
@pytest.mark.parametrize("name", ["tinyrn", "tinyvit"])
def test_sizes_that_divide_by_nothing_go_through(name: str, size: tuple[int, int]):
    segmenter = tiny(name)
    texts = segmenter.encode_names(described(name)["vocab"])
    with torch.inference_mode():
        output = segmenter.model(torch.zeros(2, 3, *size), texts)
    assert output.logits.shape[:2] == output.scores.shape[:2] == (2, 12)
    assert output.logits.isfinite().all()
    assert output.scores.abs().max() <= 1 + 1e-5


def test_the_patch_8_model_has_levels_at_strides_4_to_32():
    shapes = zoo.shapes(DENSECLIP_TINY)
    state = {name: torch.zeros(shape) for name, shape in shapes.items()}
    state = {
        n: t.long() if n.endswith("num_batches_tracked") else t + n.endswith("running_var") for n, t in state.items()
    }
    segmenter = zoo.build(DENSECLIP_TINY, state)
    with torch.inference_mode():
        features = segmenter.model.backbone(torch.zeros(1, 3, 128, 96))
    assert [level.shape[2:] for level in features.levels] == [(32, 24), (16, 12), (8, 6), (4, 3)]
    assert features.dense.shape[2:] == (16, 12)


@pytest.mark.parametrize(
    ("config", "side", "multiplications"),
    [
        (DENSECLIP_RN50, 512, 66_634_574_848),
        (DENSECLIP_RN101, 512, 85_666_884_608),
        (DENSECLIP_VIT_B, 640, 265_596_347_392),
    ],
)
def test_an_image_costs_what_was_counted_on_the_authors_code(
    config: DenseClipConfig, side: int, multiplications: int, monkeypatch: pytest.MonkeyPatch
):
    # On the meta device nothing is computed, and autocast doesn't know it.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    model = empty(config).eval()
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counted:
        model(torch.empty(1, 3, side, side), torch.empty(150, config.embed_dim))
    assert counted.get_total_flops() == 2 * multiplications
