"""The machine's own rates, below which nothing goes: a large matrix product and a large copy. Knows no model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from maskmill.pipeline.bench.timing import Stopwatch, Timing

if TYPE_CHECKING:
    from maskmill.pipeline.config import Dtype

CPU_SIDE, GPU_SIDE = 2048, 8192
"""Rows and columns of the matrices: large enough that the product is all there is to it."""

CPU_COPY, GPU_COPY = 1 << 28, 1 << 30
"""Bytes that are copied: beyond any cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Floor:
    """A rate of the machine."""

    name: str
    """product, copy or upload."""

    device: str
    """Where: cpu or cuda."""

    timing: Timing
    """Of one product or one copy."""

    amount: float
    """Floating point operations of a product (a multiplication and an addition are two); bytes read and written."""

    @property
    def rate(self) -> float:
        """Operations or bytes a second."""
        return self.amount / self.timing.median


def product(watch: Stopwatch, dtype: "Dtype", *, side: int | None = None) -> Floor:
    """Floating point operations a second of a square product in a dtype, as PyTorch is set up (no TF32 by default).

    Args:
        watch: where and with how many threads.
        dtype: of the matrices, and of the run.
        side: of the matrices.
    """
    rows = side or (GPU_SIDE if watch.device.type == "cuda" else CPU_SIDE)
    left, right = (torch.rand(rows, rows, device=watch.device, dtype=getattr(torch, dtype)) for _ in range(2))
    out = torch.empty_like(left)
    timing = watch.time(lambda: torch.mm(left, right, out=out))
    return Floor(name="product", device=watch.device.type, timing=timing, amount=2.0 * rows**3)


def copy(watch: Stopwatch, *, size: int | None = None) -> Floor:
    """Bytes a second of a copy within the device's memory; what is read and what is written both count."""
    count = size or (GPU_COPY if watch.device.type == "cuda" else CPU_COPY)
    source = torch.ones(count // 4, dtype=torch.float32, device=watch.device)
    target = torch.empty_like(source)
    timing = watch.time(lambda: target.copy_(source))
    return Floor(name="copy", device=watch.device.type, timing=timing, amount=2.0 * count)


def upload(watch: Stopwatch, *, size: int = CPU_COPY) -> Floor:
    """Bytes a second from pinned memory of the host to a GPU."""
    source = torch.ones(size, dtype=torch.uint8).pin_memory()
    target = torch.empty_like(source, device=watch.device)
    timing = watch.time(lambda: target.copy_(source, non_blocking=True))
    return Floor(name="upload", device=watch.device.type, timing=timing, amount=float(size))


def floors(watch: Stopwatch, dtype: "Dtype") -> list[Floor]:
    """The rates of the CPU and, where the run computes on one, of the GPU and the way to it."""
    cpu = Stopwatch(device=torch.device("cpu"), threads=watch.threads, repeats=watch.repeats)
    found = [product(cpu, dtype), copy(cpu)]
    if watch.device.type == "cuda":
        found += [product(watch, dtype), copy(watch), upload(watch)]
    return found
