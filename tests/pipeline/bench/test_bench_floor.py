"""The machine's own rates."""

import pytest
import torch

from maskmill.pipeline.bench.floor import copy, floors, product
from maskmill.pipeline.bench.timing import Stopwatch

WATCH = Stopwatch(device=torch.device("cpu"), threads=1, repeats=3, least_seconds=0.01)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_product_counts_two_operations_a_multiplication(dtype) -> None:
    found = product(WATCH, dtype, side=64)
    assert (found.name, found.device, found.amount) == ("product", "cpu", 2 * 64**3)
    assert found.rate == found.amount / found.timing.median


def test_a_copy_counts_what_is_read_and_what_is_written() -> None:
    found = copy(WATCH, size=1 << 16)
    assert (found.name, found.device, found.amount) == ("copy", "cpu", 2 << 16)


@pytest.mark.gpu
def test_a_gpu_has_its_own_floor_beside_the_cpus() -> None:
    watch = Stopwatch(device=torch.device("cuda"), threads=1, repeats=3)
    assert [(one.name, one.device) for one in floors(watch, "bfloat16")] == [
        ("product", "cpu"),
        ("copy", "cpu"),
        ("product", "cuda"),
        ("copy", "cuda"),
        ("upload", "cuda"),
    ]
