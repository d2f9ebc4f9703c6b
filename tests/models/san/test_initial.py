"""Starts of training: open_clip's towers arrive intact, fresh tensors are as published, whole SANs are taken whole."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from maskmill.models import zoo
from maskmill.models.clip.config import ClipTextConfig
from maskmill.models.errors import UsageError
from maskmill.models.san.config import SAN_TINY, SAN_VIT_B16
from maskmill.models.san.initial import BACKGROUND, SIDE, fresh_tensors, initial
from maskmill.models.san.untrained import FillRule

# CLIP's own vocabulary, so that the tests' sizes are those of any checkpoint.
CONFIG = replace(SAN_TINY, clip=replace(SAN_TINY.clip, text_cfg=ClipTextConfig(width=64, heads=2, layers=2)))


@pytest.fixture(scope="module")
def clip():
    """A random CLIP of open_clip, of the sizes of `CONFIG`."""
    import open_clip

    torch.manual_seed(3)
    vision, text = CONFIG.clip.vision_cfg, CONFIG.clip.text_cfg
    sizes = {"image_size": vision.image_size, "patch_size": vision.patch_size, "layers": vision.layers}
    return open_clip.model.CLIP(
        embed_dim=CONFIG.clip.embed_dim,
        quick_gelu=True,
        vision_cfg={**sizes, "width": vision.width, "head_width": vision.head_width},
        text_cfg={"width": text.width, "heads": text.heads, "layers": text.layers},
    ).eval()


@torch.no_grad()
def test_open_clips_towers_say_the_same_under_our_names(clip):
    state, origin = initial(CONFIG, clip.state_dict(), seed=0, source="clip")
    assert origin == "CLIP"
    model = zoo.build(CONFIG, state).model
    tokens = torch.tensor([[49406, 320, 1125, 539, 49407, *[0] * 72], [49406, 736, 49407, *[0] * 74]])
    theirs = functional.normalize(clip.encode_text(tokens), dim=-1)
    torch.testing.assert_close(model.ov_classifier.encode_text(tokens), theirs, atol=1e-5, rtol=0)

    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = model.clip_visual_extractor(images).tokens[CONFIG.split_layer]
    for block in model.clip_rec_head.resblocks:
        found = block(found)
    ours = model.clip_rec_head.ln_post(found[:, 0]) @ model.clip_rec_head.proj
    torch.testing.assert_close(ours, clip.encode_image(images), atol=1e-4, rtol=0)


def test_fresh_tensors_follow_from_the_seed_alone(clip):
    first, _ = initial(CONFIG, clip.state_dict(), seed=1, source="clip")
    again, _ = initial(CONFIG, clip.state_dict(), seed=1, source="clip")
    other, _ = initial(CONFIG, clip.state_dict(), seed=2, source="clip")
    assert all(torch.equal(first[name], again[name]) for name in first)
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    assert all(name.startswith(SIDE) or name == BACKGROUND for name in differing)
    assert "side_adapter_network.query_embed" in differing


def test_fresh_tensors_are_spread_as_published():
    shapes = {
        name: shape for name, shape in zoo.shapes(SAN_VIT_B16).items() if name.startswith(SIDE) or name == BACKGROUND
    }
    fresh = fresh_tensors(shapes, 0)
    assert {name: tuple(tensor.shape) for name, tensor in fresh.items()} == shapes
    for name, deviation in {
        "side_adapter_network.query_embed": 0.02,
        "side_adapter_network.query_pos_embed": 0.02,
        "side_adapter_network.vit_model.pos_embed": 0.02,
        "side_adapter_network.vit_model.blocks.3.attn.qkv.weight": 0.02,
        "side_adapter_network.vit_model.blocks.7.mlp.fc2.weight": 0.02,
        "ov_classifier.bg_embed": 512**-0.5,
        # Uniform within b has deviation b / sqrt 3: PyTorch's 1 / sqrt(inputs), and Xavier's sqrt(3 / inputs).
        "side_adapter_network.vit_model.patch_embed.proj.weight": 768**-0.5 / math.sqrt(3),
        "side_adapter_network.mask_decoder.attn_mlp.layers.2.weight": 256**-0.5 / math.sqrt(3),
        "side_adapter_network.mask_decoder.pix_mlp.layers.0.bias": 240**-0.5 / math.sqrt(3),
        "side_adapter_network.fusion_layers.layer_2.input_proj.1.weight": 768**-0.5,
    }.items():
        assert fresh[name].std() == pytest.approx(deviation, rel=0.12), name
    ones = [name for name in fresh if name.endswith(("norm1.weight", "norm2.weight", "input_proj.0.weight"))]
    assert len(ones) == 8 * 2 + 4
    assert all(bool((fresh[name] == 1).all()) for name in ones)
    zeros = [name for name in fresh if ".blocks." in name and name.endswith(".bias")]
    assert len(zeros) == 8 * 6
    assert all(not fresh[name].any() for name in zeros)


def test_a_clip_under_a_sans_names_gets_a_fresh_side_adapter_and_a_san_is_taken_whole(clip):
    whole = FillRule().state(zoo.shapes(CONFIG))
    only_clip = {name: t.half() for name, t in whole.items() if not name.startswith(SIDE) and name != BACKGROUND}
    state, origin = initial(CONFIG, only_clip, seed=5, source="tiny CLIP")
    assert origin == "CLIP"
    assert state["clip_rec_head.proj"].dtype == torch.float32
    assert torch.equal(state["clip_rec_head.proj"], only_clip["clip_rec_head.proj"].float())
    assert not torch.equal(state["side_adapter_network.query_embed"], whole["side_adapter_network.query_embed"])

    taken, origin = initial(CONFIG, {**whole, "ov_classifier.attn_mask": torch.zeros(77, 77)}, seed=5, source="SAN")
    assert origin == "SAN"
    assert set(taken) == set(whole)
    assert all(torch.equal(taken[name], whole[name]) for name in whole)


def test_what_is_neither_and_what_does_not_fit_is_told(clip):
    with pytest.raises(UsageError, match=r"--init 'x\.pth': holds neither a SAN nor a CLIP"):
        initial(CONFIG, {"layer1.weight": torch.zeros(3)}, seed=0, source="x.pth")
    with pytest.raises(UsageError, match="does not fit the model"):
        initial(SAN_VIT_B16, clip.state_dict(), seed=0, source="x.pth")
