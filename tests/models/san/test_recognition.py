"""SLS tokens' attention against the plain formula with the full mask, and max pooling of the bias."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from maskmill.models.san.recognition import attend_with_self, pool_bias, with_own_column
from tests.models.san.tiny16 import draw

B, HEADS, Q, L, D = 2, 3, 5, 11, 8


def parts(dtype: torch.dtype, *, grad: bool = False) -> list[torch.Tensor]:
    shapes = [(Q, D), (Q, D), (Q, D), (L, D), (L, D)]
    tensors = [2 * draw(B, HEADS, *shape, seed=i, dtype=dtype) for i, shape in enumerate(shapes)]
    tensors.append(3 * draw(B, HEADS, Q, L, seed=9, dtype=dtype))
    return [tensor.requires_grad_(grad) for tensor in tensors]


def ours(query, own_key, own_value, key, value, bias):
    columns = with_own_column(bias)
    return attend_with_self(query, (own_key, own_value), (key, value), columns)


def plain(query, own_key, own_value, key, value, bias):
    """Every token's score with every key of L + Q, all but a token's own of the last Q masked away."""
    keys, values = torch.cat([key, own_key], dim=2), torch.cat([value, own_value], dim=2)
    alone = torch.full((Q, Q), float("-inf"), dtype=query.dtype).fill_diagonal_(0.0)
    mask = torch.cat([bias, alone.expand(B, HEADS, Q, Q)], dim=-1)
    return (query @ keys.transpose(-1, -2) / D**0.5 + mask).softmax(dim=-1) @ values


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_attention_equals_the_plain_formula(backend, dtype, tolerance):
    tensors = parts(dtype)
    with sdpa_kernel([backend, SDPBackend.MATH], set_priority=True):
        assert torch.allclose(ours(*tensors), plain(*tensors), rtol=0, atol=tolerance)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 400, 540])
def test_a_bias_gets_a_column_of_zeros_and_rows_that_fused_kernels_need_not_copy(length):
    """CUDA's kernels with a bias want all strides but the last to be multiples of 16 elements."""
    bias = draw(2, 3, 4, length)
    columns = with_own_column(bias)
    assert torch.equal(columns, torch.nn.functional.pad(bias, (0, 1)))
    *strides, last = columns.stride()
    assert last == 1
    assert all(stride % 16 == 0 for stride in strides)


def test_its_gradients_equal_those_of_the_plain_formula():
    mine, theirs = parts(torch.float64, grad=True), parts(torch.float64, grad=True)
    (ours(*mine) ** 2).sum().backward()
    (plain(*theirs) ** 2).sum().backward()
    for one, other in zip(mine, theirs, strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-9, atol=1e-10)


def test_a_bias_of_minus_infinity_leaves_a_token_alone_with_itself():
    tensors = parts(torch.float32)
    tensors[-1] = torch.full_like(tensors[-1], float("-inf"))
    assert torch.allclose(ours(*tensors), tensors[2])


def test_the_bias_is_pooled_to_the_largest_of_each_cell():
    bias = draw(2, 3, 4, 6, 9)
    pooled = pool_bias(bias, (3, 3))
    assert tuple(pooled.shape) == (2, 3, 4, 3, 3)
    assert torch.equal(pooled[1, 2, 3, 1, 2], bias[1, 2, 3, 2:4, 6:9].max())


@pytest.mark.parametrize("grid", [(3, 3), (2, 9), (6, 3), (6, 9), (4, 5)])
def test_pooling_without_gradients_is_the_same(grid):
    bias = draw(2, 3, 4, 6, 9)
    with torch.inference_mode():
        assert torch.equal(pool_bias(bias, grid), pool_bias(bias.clone().requires_grad_(), grid).detach())
        with torch.enable_grad():
            plain = pool_bias(bias, grid)
        assert torch.equal(pool_bias(bias, grid), plain)
