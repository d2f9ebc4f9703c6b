import pytest
import torch
from torch.nn import functional

from maskmill.models.clip.layers import (
    GRIDS_KEPT,
    GridCache,
    PatchEmbedding,
    Pointwise,
    clip_block,
    key_value,
    query_key_value,
    resize_positions,
    run,
    to_map,
    to_tokens,
)
from tests.models.san.tiny16 import draw


@pytest.mark.parametrize("size", [(32, 48), (35, 50), (16, 16)])
def test_a_patch_embedding_is_the_convolution(size):
    layer, images = PatchEmbedding(12, 16, bias=True), draw(2, 3, *size)
    convolved = functional.conv2d(images, layer.weight, layer.bias, stride=16)
    assert layer.grid(images) == tuple(convolved.shape[2:])
    assert torch.allclose(to_map(layer(images), layer.grid(images)), convolved, atol=1e-5)


def test_a_pointwise_layer_is_the_convolution():
    layer, feature_map = Pointwise(6, 4), draw(2, 6, 3, 5)
    convolved = functional.conv2d(feature_map, layer.weight, layer.bias)
    assert torch.allclose(to_map(layer(to_tokens(feature_map)), (3, 5)), convolved, atol=1e-6)


def test_maps_and_tokens_are_each_others_inverse():
    feature_map = draw(2, 6, 3, 5)
    assert torch.equal(to_map(to_tokens(feature_map), (3, 5)), feature_map)


def test_positions_of_the_stored_grid_are_untouched_and_others_interpolated():
    positions = draw(12, 8)
    assert resize_positions(positions, (3, 4), (3, 4)) is positions
    # As many cells but another shape is another grid.
    turned = resize_positions(positions, (3, 4), (4, 3))
    assert turned.shape == positions.shape
    assert not torch.equal(turned, positions)


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_a_block_says_what_open_clips_own_forward_says(quick_gelu):
    block, tokens = clip_block(24, 3, 4.0, quick_gelu=quick_gelu), draw(2, 7, 24)
    assert torch.allclose(run(block, tokens), block(tokens), atol=1e-5)


def test_a_causal_block_is_open_clips_with_its_mask():
    block, tokens = clip_block(24, 3, 4.0, quick_gelu=True), draw(2, 7, 24)
    mask = torch.full((7, 7), float("-inf")).triu(1)
    assert torch.allclose(run(block, tokens, causal=True), block(tokens, attn_mask=mask), atol=1e-5)


def test_keys_and_values_alone_are_those_of_all_three():
    block, tokens = clip_block(24, 3, 4.0, quick_gelu=True), draw(2, 7, 24)
    _, key, value = query_key_value(block, tokens)
    alone = key_value(block, tokens)
    assert torch.allclose(alone[0], key, atol=1e-6)
    assert torch.allclose(alone[1], value, atol=1e-6)


def test_kept_positions_are_those_of_the_grid_and_of_the_embedding_as_it_is():
    cache, stored = GridCache(), draw(16, 8)
    with torch.no_grad():
        for grid in ((4, 4), (3, 5), (6, 2), (3, 5)):
            assert torch.equal(cache.resized(stored, (4, 4), grid), resize_positions(stored, (4, 4), grid))
        stored.mul_(2)
        assert torch.equal(cache.resized(stored, (4, 4), (3, 5)), resize_positions(stored, (4, 4), (3, 5)))
        other = draw(16, 8, seed=1)
        assert torch.equal(cache.resized(other, (4, 4), (3, 5)), resize_positions(other, (4, 4), (3, 5)))


def test_kept_positions_do_not_pile_up_and_never_cut_gradients():
    cache, stored = GridCache(), draw(16, 8).requires_grad_()
    with torch.no_grad():
        for rows in range(5, 5 + 3 * GRIDS_KEPT):
            cache.resized(stored, (4, 4), (rows, 4))
        assert len(cache._kept) == GRIDS_KEPT
        cache.resized(stored, (4, 4), (3, 5))
    cache.resized(stored, (4, 4), (3, 5)).sum().backward()
    assert stored.grad is not None
