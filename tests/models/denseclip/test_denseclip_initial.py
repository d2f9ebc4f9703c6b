"""Where DenseCLIP starts: open_clip's names and grids, the CLIP in a SAN, a whole DenseCLIP, and what is refused."""

from dataclasses import replace

import open_clip
import pytest
import torch
from torch.nn import functional

from maskmill.models import checkpoint, zoo
from maskmill.models.clip.config import ClipTextConfig
from maskmill.models.denseclip.config import (
    DENSECLIP_TINY,
    ContextDecoderConfig,
    DenseClipConfig,
    ResNetConfig,
    VitConfig,
)
from maskmill.models.denseclip.initial import GAMMA, initial
from maskmill.models.denseclip.model import empty
from maskmill.models.errors import UsageError
from tests.golden_fill import state

TEXT = ClipTextConfig(context_length=13, width=64, heads=1, layers=1)
SMALL = {"text": TEXT, "embed_dim": 32, "num_classes": 5, "windows": None}
SMALL |= {
    "neck_channels": 32,
    "head_channels": 32,
    "context_decoder": ContextDecoderConfig(width=32, heads=2, layers=1),
}
VIT = DenseClipConfig(image=VitConfig(image_size=64, layers=4, width=64, heads=1, taps=(0, 1, 2, 3)), **SMALL)
RESNET = DenseClipConfig(image=ResNetConfig(image_size=96, layers=(1, 1, 1, 1), width=32), **SMALL)


def clip_of(config: DenseClipConfig) -> dict[str, torch.Tensor]:
    """open_clip's own CLIP with such towers, for images of 32 or 64 pixels."""
    vision = (
        {"image_size": 32, "layers": 4, "width": 64, "head_width": 64, "patch_size": 16}
        if isinstance(config.image, VitConfig)
        else {"image_size": 64, "layers": [1, 1, 1, 1], "width": 32}
    )
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    torch.manual_seed(5)
    return open_clip.CLIP(32, vision, text, quick_gelu=True).state_dict()


@pytest.mark.parametrize(
    ("config", "places"), [(VIT, "positional_embedding"), (RESNET, "attnpool.positional_embedding")]
)
def test_a_clip_gives_both_towers_and_its_grid_is_resized(config: DenseClipConfig, places: str):
    clip = clip_of(config)
    found, origin = initial(config, clip, seed=1, source="here")
    assert origin == "CLIP"
    wanted = empty(config).state_dict()
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in found.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in wanted.items()
    }
    same = [name for name in clip if name.startswith("visual.") and not name.endswith("positional_embedding")]
    assert len(same) > 20
    for name in same:
        assert torch.equal(found[f"backbone.{name.removeprefix('visual.')}"], clip[name]), name
    theirs, mine = clip[f"visual.{places}"], found[f"backbone.{places}"]
    grid = functional.interpolate(
        theirs[1:].T.unflatten(1, (2, 2))[None], size=config.image.grid, mode="bilinear", align_corners=False
    )[0]
    assert torch.equal(mine[:1], theirs[:1])
    torch.testing.assert_close(mine[1:], grid.flatten(1).T)
    assert torch.equal(found["text_encoder.positional_embedding"], clip["positional_embedding"][:13])
    assert torch.equal(found["text_encoder.text_projection"], clip["text_projection"])


def test_what_is_fresh_starts_as_published_and_follows_from_the_seed():
    first, second, other = (initial(VIT, clip_of(VIT), seed=seed, source="here")[0] for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["contexts"], other["contexts"])
    assert torch.equal(first["gamma"], torch.full((32,), GAMMA))
    assert 0.7 < first["contexts"].std() < 1.0
    assert first["decode_head.conv_seg.weight"].std() < 0.02
    assert first["neck.lateral_convs.0.conv.bias"].abs().max() == 0
    assert first["backbone.fpn1.2.running_var"].min() == 1
    zoo.build(VIT, first)


def test_the_clip_in_the_bundled_san_fits_the_tiny_student():
    source = zoo.MODELS["san-tiny"].default_weights
    san = checkpoint.load(source)
    found, origin = initial(DENSECLIP_TINY, san, seed=0, source=source)
    assert origin == "CLIP"
    last = san["clip_rec_head.resblocks.1.ln_2.weight"].float()
    assert torch.equal(found["backbone.transformer.resblocks.5.ln_2.weight"], last)
    assert torch.equal(
        found["text_encoder.token_embedding.weight"], san["ov_classifier.token_embedding.weight"].float()
    )


def test_a_whole_denseclip_is_taken_as_it_is():
    given = state(zoo.shapes(VIT), "x/")
    found, origin = initial(VIT, given, seed=1, source="here")
    assert origin == "DenseCLIP"
    assert all(torch.equal(found[name], given[name]) for name in given)


def test_other_files_and_sizes_are_refused_in_one_line():
    with pytest.raises(UsageError, match="neither a DenseCLIP nor a CLIP"):
        initial(VIT, {"weight": torch.zeros(1)}, seed=0, source="here")
    wider = replace(VIT, image=replace(VIT.image, width=128, heads=2))
    with pytest.raises(UsageError, match="here") as error:
        initial(wider, clip_of(VIT), seed=0, source="here")
    assert "\n" not in str(error.value)
