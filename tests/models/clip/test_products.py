"""Products by oneDNN against those of PyTorch's own layers, and when they aren't used."""

import pytest
import torch
from torch.nn import functional

from maskmill.models.clip.products import linear, linear_gelu
from tests.models.san.tiny16 import draw


@pytest.mark.parametrize("shape", [(1, 16), (5, 16), (2, 7, 16), (0, 16)])
@pytest.mark.parametrize("bias", [True, False])
def test_products_equal_those_of_a_linear_layer(shape, bias):
    tokens, weight = draw(*shape), draw(24, 16, seed=1)
    offset = draw(24, seed=2) if bias else None
    with torch.inference_mode():
        plain = functional.linear(tokens, weight, offset)
        assert torch.allclose(linear(tokens, weight, offset), plain, rtol=0, atol=1e-5)
        assert torch.allclose(linear_gelu(tokens, weight, offset), functional.gelu(plain), rtol=0, atol=1e-5)


def test_tokens_may_be_part_of_a_larger_tensor():
    tokens, weight = draw(2, 9, 32), draw(24, 16, seed=1)
    with torch.inference_mode():
        for part in (tokens[:, 1:, :16], tokens[:, ::2, 16:], tokens[..., :16].transpose(0, 1)):
            assert torch.allclose(linear(part, weight), part @ weight.T, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_flow_through_products(dtype):
    tokens, weight = draw(3, 4, dtype=dtype), draw(5, 4, seed=1, dtype=dtype).requires_grad_()
    linear_gelu(linear(tokens, weight), draw(2, 5, seed=2, dtype=dtype)).sum().backward()
    assert weight.grad is not None
    assert bool(weight.grad.any())


def test_products_follow_autocast():
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert linear(draw(3, 4), draw(5, 4)).dtype == torch.bfloat16
        assert linear_gelu(draw(3, 4), draw(5, 4)).dtype == torch.bfloat16
