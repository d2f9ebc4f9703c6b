"""Compiled for shapes in general, before the first batch; the numbers stay."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from maskmill.models.errors import EnvironmentFailure
from maskmill.models.inference.compiled_measure import CompiledMeasure
from maskmill.models.inference.planes import measured

SHAPES = [(3, 4, 5, 7), (1, 4, 30, 17), (6, 1, 9, 64), (1, 1, 2, 2), (5, 5, 5, 5), (2, 90, 33, 40), (4, 2, 1, 8)]


def drawn(shape: tuple[int, int, int, int], dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(sum(shape))
    logits = torch.randn(shape, generator=generator) * 3
    weights = torch.rand(shape[:2], generator=generator)
    return logits.to(dtype), weights.to(dtype), torch.full((), shape[1], dtype=torch.uint8)


def test_no_shape_is_compiled_once_batches_come() -> None:
    counter = CompileCounter()
    measure = CompiledMeasure(torch.device("cpu"), backend=counter)
    before = counter.frame_count
    assert before == 4
    with torch.inference_mode():
        for shape in SHAPES:
            for ours, expected in zip(measure(*drawn(shape)), measured(*drawn(shape)), strict=True):
                assert torch.equal(ours, expected)
        measure(*drawn((2, 3, 4, 5), torch.float64))
    assert counter.frame_count == before


def test_a_compiler_that_fails_is_the_surroundings_failure_in_one_line() -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no\ncompiler")

    with pytest.raises(
        EnvironmentFailure, match=r"^--compile: segments can't be compiled here .*Leave --compile out\.$"
    ):
        CompiledMeasure(torch.device("cpu"), backend=broken)


@pytest.mark.slow
def test_the_compilers_kernels_have_the_numbers_of_the_steps() -> None:
    measure = CompiledMeasure(torch.device("cpu"))
    with torch.inference_mode():
        for shape in SHAPES:
            labels, tallies = measure(*drawn(shape))
            expected, counted = measured(*drawn(shape))
            assert labels.dtype == torch.uint8
            assert torch.equal(labels, expected)
            assert torch.equal(tallies[..., :3], counted[..., :3])
            torch.testing.assert_close(tallies[..., 3], counted[..., 3], rtol=1e-6, atol=0)


@pytest.mark.gpu
def test_on_a_gpu_compiled_numbers_are_those_of_the_steps() -> None:
    measure = CompiledMeasure(torch.device("cuda"))
    with torch.inference_mode():
        for shape in [*SHAPES, (4, 12, 641, 427)]:
            given = [one.cuda() for one in drawn(shape)]
            labels, tallies = measure(*given)
            expected, counted = measured(*(one.clone() for one in given))
            assert (labels != expected).float().mean() < 1e-4
            torch.testing.assert_close(tallies, counted, rtol=1e-4, atol=2)
