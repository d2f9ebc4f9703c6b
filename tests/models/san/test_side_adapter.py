import torch

from tests.models.san.tiny16 import draw, tiny16


def test_only_the_depths_asked_for_are_computed_and_given():
    model = tiny16().model
    images = draw(1, 3, 64, 96)
    clip = model.clip_visual_extractor(model.clip_visual_extractor.clip_input(images))
    ran = []
    for i, block in enumerate(model.side_adapter_network.vit_model.blocks):
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
    found = model.side_adapter_network(images, clip, (2,))
    assert set(found) == {2}
    assert ran == [0, 1]
    assert tuple(found[2].queries.shape) == (1, 10, 48)
    assert tuple(found[2].pixels.shape) == (1, 4 * 6, 48)
    assert found[2].grid == (4, 6)


def test_fusion_is_norm_convolution_resize():
    fusion = tiny16().model.side_adapter_network.fusion_layers["layer_1"]
    tokens = draw(2, 6, 64)
    norm, convolution = fusion.input_proj
    assert norm.eps == 1e-6
    as_map = norm(tokens).transpose(1, 2).unflatten(2, (2, 3))
    projected = torch.nn.functional.conv2d(as_map, convolution.weight, convolution.bias)
    resized = torch.nn.functional.interpolate(projected, size=(5, 7), mode="bilinear", align_corners=False)
    assert torch.allclose(fusion(tokens, (2, 3), (5, 7)), resized.flatten(2).transpose(1, 2), atol=1e-5)


def test_the_side_vit_has_exact_gelu_and_its_own_epsilon():
    for block in tiny16().model.side_adapter_network.vit_model.blocks:
        assert isinstance(block.mlp.act, torch.nn.GELU)
        assert block.mlp.act.approximate == "none"
        assert block.norm1.eps == block.norm2.eps == 1e-6
        assert block.attn.fused_attn
