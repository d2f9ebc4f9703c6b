"""SAN whole: names, gradients, both depths, and what "the same labels" means on each attention path."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from maskmill.models.san.config import SAN_VIT_B16, SAN_VIT_L14, SanConfig
from maskmill.models.san.model import empty
from tests.golden_rule import image
from tests.models.san.tiny16 import GOLDEN, class_weights, draw, tiny16, tiny16_config

PATHS = {
    "math": [SDPBackend.MATH],
    "flash": [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH],
    "default": None,
}
"""Attention paths of scaled_dot_product_attention on a CPU. Float64 and gradients may fall back to math."""


def on_path(path: str):
    backends = PATHS[path]
    return nullcontext() if backends is None else sdpa_kernel(backends, set_priority=True)


@pytest.mark.parametrize(
    ("keys", "config"), [("tiny16", None), ("B16", SAN_VIT_B16), ("L14", SAN_VIT_L14)], ids=["tiny16", "B16", "L14"]
)
def test_names_shapes_and_flags_are_the_released_ones(keys, config):
    released = json.loads((GOLDEN / f"keys_{keys}.json").read_text())
    model = empty(config or tiny16_config())
    parameters = {name: [list(p.shape), "float32", p.requires_grad] for name, p in model.named_parameters()}
    assert parameters == {name: value for name, value in released.items() if value[2] != "buffer"}
    assert set(model.state_dict()) == set(parameters)
    assert {name for name, value in released.items() if value[2] == "buffer"} == SAN_VIT_B16.ignored


@pytest.mark.parametrize(("config", "trainable"), [(SAN_VIT_B16, 8_370_866), (SAN_VIT_L14, 9_321_650)])
def test_the_published_models_train_as_many_parameters_as_published(config, trainable):
    assert sum(p.numel() for p in empty(config).parameters() if p.requires_grad) == trainable


def test_the_b16_set_describes_our_named_model():
    assert SanConfig.parse(json.loads((GOLDEN / "B16.json").read_text())["config"]) == SAN_VIT_B16


@pytest.mark.parametrize("path", PATHS)
def test_gradients_flow_to_exactly_the_trainable_names(path):
    segmenter = tiny16()
    released = json.loads((GOLDEN / "keys_tiny16.json").read_text())
    with on_path(path):
        outputs = segmenter.model(
            draw(2, 3, 96, 128), class_weights(segmenter), segmenter.model.config.deep_supervision
        )
        # Squares, because a plain sum of mask logits would cancel what is common to queries.
        sum((o.mask_logits**2).mean() + (o.class_logits**2).mean() for o in outputs).backward()
    reached = {name for name, p in segmenter.model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert reached == {name for name, value in released.items() if value[2] is True}


def test_gradients_are_those_of_finite_differences():
    segmenter = tiny16(float64=True)
    model, images = segmenter.model, draw(1, 3, 64, 64, dtype=torch.float64)

    def loss() -> torch.Tensor:
        outputs = model(images, class_weights(segmenter), (2, 3))
        return sum((o.mask_logits**2).mean() + (o.class_logits**2).mean() for o in outputs)

    loss().backward()
    for name in (
        "side_adapter_network.query_embed",
        "side_adapter_network.mask_decoder.attn_mlp.layers.2.weight",
        "side_adapter_network.mask_decoder.attn_mlp.layers.2.bias",
        "side_adapter_network.mask_decoder.bias_scaling.weight",
        "clip_visual_extractor.positional_embedding",
        "ov_classifier.bg_embed",
    ):
        parameter = model.get_parameter(name)
        direction = draw(*parameter.shape, seed=3, dtype=torch.float64)
        with torch.no_grad():
            ends = []
            for step in (1e-6, -2e-6):
                parameter += step * direction
                ends.append(loss())
        slope = float((ends[0] - ends[1]) / 2e-6)
        with torch.no_grad():
            parameter += 1e-6 * direction
        assert slope == pytest.approx(float((parameter.grad * direction).sum()), rel=1e-5), name


def test_both_supervised_depths_equal_the_authors_numbers():
    golden, described = np.load(GOLDEN / "tiny16_train.npz"), json.loads((GOLDEN / "tiny16_train.json").read_text())
    segmenter = tiny16()
    pixels = np.stack([image(h, w, seed) for h, w, seed, _ in described["cases"]]).transpose(0, 3, 1, 2)
    images = segmenter.normalised(torch.from_numpy(pixels), [pixels.shape[2:]] * len(pixels))
    weights = torch.from_numpy(np.load(GOLDEN / "tiny16.npz")["text_weights"])
    # Predictions are numbered by depth; only losses and matches have the final depth first.
    outputs = segmenter.model(images, weights, (2, 3))
    for depth, output in enumerate(outputs):
        for name, ours in (("pred_masks", output.mask_logits), ("pred_logits", output.class_logits)):
            theirs = golden[f"{name}_{depth}"]
            assert np.abs(ours.detach().numpy() - theirs).max() <= 5e-5 * np.abs(theirs).max()


def test_a_depth_says_the_same_alone_and_beside_another():
    segmenter = tiny16(float64=True)
    images, weights = draw(1, 3, 64, 96, dtype=torch.float64), class_weights(segmenter)
    with torch.inference_mode():
        (alone,) = segmenter.model(images, weights)
        first, last = segmenter.model(images, weights, (2, 3))
    assert torch.allclose(alone.mask_logits, last.mask_logits, rtol=0, atol=1e-12)
    assert torch.allclose(alone.class_logits, last.class_logits, rtol=0, atol=1e-12)
    assert not torch.allclose(first.class_logits, last.class_logits)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("neighbour", ["noise", "nan"])
def test_an_image_is_independent_of_its_neighbours(path, kind, neighbour):
    segmenter = tiny16(float64=kind == "float64")
    dtype = torch.float64 if kind == "float64" else torch.float32
    images, weights = draw(3, 3, 96, 128, dtype=dtype), class_weights(segmenter)
    others = images.clone()
    others[[0, 2]] = 5 * draw(2, 3, 96, 128, seed=1, dtype=dtype) if neighbour == "noise" else float("nan")
    with on_path(path), torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
        (before,), (after,) = segmenter.model(images, weights), segmenter.model(others, weights)
    assert before.mask_logits[1].isfinite().all()
    assert torch.equal(before.mask_logits[1], after.mask_logits[1])
    assert torch.equal(before.class_logits[1], after.class_logits[1])
    assert not torch.equal(before.class_logits[0], after.class_logits[0])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("float64", "tolerance"), [(True, 1e-9), (False, 1e-5)], ids=["float64", "float32"])
def test_batch_size_changes_nothing_beyond_rounding(path, float64, tolerance):
    segmenter = tiny16(float64=float64)
    images = draw(5, 3, 96, 128, dtype=torch.float64 if float64 else torch.float32)
    weights = class_weights(segmenter)
    with on_path(path), torch.no_grad():
        (together,) = segmenter.model(images, weights)
        for i, one in enumerate(images):
            (alone,) = segmenter.model(one[None], weights)
            for ours, theirs in (
                (alone.mask_logits, together.mask_logits),
                (alone.class_logits, together.class_logits),
            ):
                assert (ours[0] - theirs[i]).abs().max() <= tolerance * theirs.abs().max()


def test_attention_paths_agree():
    segmenter = tiny16()
    images, weights = draw(2, 3, 96, 128), class_weights(segmenter)
    found = []
    for path in PATHS:
        with on_path(path), torch.no_grad():
            found.append(segmenter.model(images, weights)[0])
    for one in found[1:]:
        assert torch.allclose(one.mask_logits, found[0].mask_logits, rtol=0, atol=1e-4)
        assert torch.allclose(one.class_logits, found[0].class_logits, rtol=0, atol=1e-4)


def test_thread_count_changes_nothing_beyond_rounding():
    segmenter = tiny16()
    images, weights = draw(2, 3, 96, 128), class_weights(segmenter)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with torch.no_grad():
                found.append(segmenter.model(images, weights)[0])
    finally:
        torch.set_num_threads(before)
    one, two = found
    assert (one.mask_logits - two.mask_logits).abs().max() <= 1e-5 * one.mask_logits.abs().max()
    assert (one.class_logits - two.class_logits).abs().max() <= 1e-5 * one.class_logits.abs().max()
