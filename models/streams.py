"""What runs beside a CUDA device's main stream: pixels on their way in, small work on what came out.

Which work that is, and in which order, is said where it is used. On any other device there is one order, and nothing
here does anything.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Handover:
    """Tensors that one stream makes and another goes on with."""

    tensors: tuple[Tensor, ...]
    """On one device."""

    ready: torch.cuda.Event | None
    """What comes once they are made; None where there are no streams."""

    @classmethod
    def of(cls, *tensors: Tensor) -> "Handover":
        """Tensors that the current stream has been told to make."""
        device = tensors[0].device
        ready = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
        return cls(tensors, ready)

    def take(self) -> tuple[Tensor, ...]:
        """The tensors, for what the current stream is told from now on. The stream waits for them; the host doesn't."""
        if self.ready is not None:
            stream = torch.cuda.current_stream(self.tensors[0].device)
            stream.wait_event(self.ready)
            for tensor in self.tensors:
                # Their memory belongs to the stream that made them, and would be given away while this one reads it.
                tensor.record_stream(stream)
        return self.tensors


class Beside:
    """A stream beside the main one.

    Args:
        device: a CUDA device; on any other, work runs where it always does.
        urgent: whether its kernels go before the main stream's: for small work that the host waits for.
    """

    def __init__(self, device: torch.device, *, urgent: bool = False) -> None:
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device, priority=-1 if urgent else 0)  # type: ignore[no-untyped-call]  # torch has no annotation there

    def __call__(self) -> AbstractContextManager[Any]:
        """What the work is told under."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
