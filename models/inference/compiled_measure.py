"""`planes.measured` compiled: what takes a dozen passes over full-size masks step by step becomes a few.

Photos' masks have any size, so that it is compiled once for shapes in general, before the first batch.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor

from maskmill.models.errors import EnvironmentFailure
from maskmill.models.inference.planes import measured

TYPICAL = (8, 10, 640, 480)
"""Planes, slots, columns and rows that it is tuned for on an accelerator. All differ, lest some be taken for one."""

SMALL = (3, 4, 5, 7)
"""The same where the compiler asks for no more than a shape."""

VARIANTS = 32
"""Compiled forms that PyTorch may keep; it gives up beyond 8 unless told."""


class CompiledMeasure:
    """Compiled for float32 on one device; other types, and masks of one row or column, go step by step.

    One plane, or one slot in each, is a case of its own to the compiler. All are compiled at once, so that nothing is
    while images wait.

    Args:
        device: where masks are.
        backend: what compiles, as `torch.compile` takes it.

    Raises:
        EnvironmentFailure: it can't be compiled here.
    """

    def __init__(self, device: torch.device, *, backend: str | Callable[..., Any] = "inductor") -> None:
        self._compiled = torch.compile(measured, fullgraph=True, dynamic=True, backend=backend)
        planes, slots, columns, rows = SMALL if device.type == "cpu" else TYPICAL
        try:
            for shape in product((planes, 1), (slots, 1)):
                # As labels are made: without gradients, whatever the caller's state.
                with torch.inference_mode():
                    self(
                        torch.zeros(*shape, columns, rows, device=device),
                        torch.zeros(shape, device=device),
                        torch.full((), slots, dtype=torch.uint8, device=device),
                    )
        except Exception as error:  # compilers fail in every way
            told = " ".join(str(error).split())[:200]
            raise EnvironmentFailure(
                f"--compile: segments can't be compiled here ({type(error).__name__}: {told}). Leave --compile out."
            ) from error

    def __call__(self, logits: Tensor, weights: Tensor, nobody: Tensor) -> tuple[Tensor, Tensor]:
        """What `measured` gives, up to rounding of the probabilities."""
        if logits.dtype != torch.float32 or 1 in logits.shape[2:]:
            return measured(logits, weights, nobody)
        with torch._dynamo.config.patch(recompile_limit=VARIANTS):
            return self._compiled(logits, weights, nobody)
