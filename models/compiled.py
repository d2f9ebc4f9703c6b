"""A forward pass compiled for a fixed set of shapes, and on CUDA recorded as graphs. What has other shapes isn't its.

Which shapes are compiled is decided before the first batch and by nothing that happens later: were a shape compiled
once it had come up often enough, two runs over the same shards would give different bits.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from maskmill.models.errors import EnvironmentFailure

Forward = Callable[..., tuple[Tensor, ...]]
"""Tensors in, tensors out; nothing else goes in, nothing is waited for."""

WARM_UPS = 3
"""Passes before one is recorded: kernels are loaded, workspaces and caches made."""

GRAPHS = 64
"""Compiled shapes that PyTorch may keep of one function; it gives up beyond 8 unless told."""


@dataclass(frozen=True, slots=True, eq=False)
class _Fixed:
    """The pass for one set of shapes."""

    inputs: tuple[Tensor, ...]
    """What it always reads: new inputs are copied over, so that layouts and addresses are those it was made for."""

    run: Callable[[], tuple[Tensor, ...]]
    """Computes the outputs, which the next call overwrites."""


class FixedShapes:
    """A forward pass, compiled for the shapes that `prepare` is told, for use on one thread.

    Args:
        forward: what is compiled. It runs without gradients. The shape of the first input settles those of the others.
        arithmetic: what it runs under, such as autocast.
        backend: what compiles, as `torch.compile` takes it.
    """

    def __init__(
        self,
        forward: Forward,
        arithmetic: Callable[[], AbstractContextManager[Any]] = nullcontext,
        *,
        backend: str | Callable[..., Any] = "inductor",
    ) -> None:
        self._forward = forward
        self._arithmetic = arithmetic
        self._backend = backend
        self._fixed: dict[torch.Size, _Fixed] = {}
        self._pool: Any = None

    def prepare(self, inputs: Sequence[Tensor]) -> None:
        """Compile for the shapes, types and layouts of these inputs; their values are of no account.

        Raises:
            EnvironmentFailure: there is no compiler here, or no memory.
        """
        given = tuple(inputs)
        what = " and ".join(" x ".join(map(str, tensor.shape)) for tensor in given)
        try:
            with torch._dynamo.config.patch(recompile_limit=GRAPHS), torch.inference_mode(), self._arithmetic():
                # Shapes as constants: kernels of dynamic shapes are slower, and CUDA's graphs are of one shape anyway.
                compiled = torch.compile(self._forward, fullgraph=True, dynamic=False, backend=self._backend)
                compiled(*given)
                if given[0].device.type == "cuda":
                    self._fixed[given[0].shape] = self._recorded(compiled, given)
                else:
                    self._fixed[given[0].shape] = _Fixed(given, lambda: compiled(*given))
        except torch.OutOfMemoryError as error:
            raise EnvironmentFailure(
                f"--compile: {what} don't fit on the device. Give a smaller --batch-size, or leave --compile out."
            ) from error
        except Exception as error:  # compilers fail in every way
            raise EnvironmentFailure(f"--compile: {_told(error)}") from error

    def covers(self, first: Tensor) -> bool:
        """Whether it is compiled for a first input of this shape."""
        return first.shape in self._fixed

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What `forward` gives, up to rounding; for shapes that are covered. The outputs are the caller's."""
        fixed = self._fixed[inputs[0].shape]
        with torch.inference_mode(), self._arithmetic():
            for own, given in zip(fixed.inputs, inputs, strict=True):
                own.copy_(given, non_blocking=True)
            return fixed.run()

    def _recorded(self, compiled: Forward, inputs: tuple[Tensor, ...]) -> _Fixed:
        """The compiled pass as a CUDA graph: one launch for hundreds, which would hold Python's lock meanwhile."""
        device = inputs[0].device
        beside: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch has no annotation there
        beside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                compiled(*inputs)
        torch.cuda.current_stream(device).wait_stream(beside)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Graphs share their memory: they run one after the other, and what comes out is copied before the next. Other
        # threads may use the device while one is recorded.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            outputs = compiled(*inputs)

        def run() -> tuple[Tensor, ...]:
            graph.replay()
            return tuple(output.clone() for output in outputs)

        return _Fixed(inputs, run)


def check(device: torch.device) -> None:
    """See whether anything can be compiled for a device; some seconds.

    Raises:
        EnvironmentFailure: there is no compiler here.
    """
    FixedShapes(_sum).prepare([torch.zeros(64, device=device)])


def _sum(values: Tensor) -> tuple[Tensor]:
    return (values.exp().sum(),)


def _told(error: BaseException) -> str:
    said = " ".join(str(error).split())[:200]
    return (
        f"nothing can be compiled here ({type(error).__name__}: {said}). PyTorch needs a C++ compiler on a CPU, Triton "
        "and a C compiler on a GPU. Install them, or leave --compile out."
    )
