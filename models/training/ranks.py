"""How the workers that share a training step add up numbers. One worker alone needs no process group."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def _alone(tensor: Tensor) -> None:
    """The sum over one worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """One worker's place among those that train together."""

    rank: int = 0
    """This worker, from 0; 0 writes files."""

    size: int = 1
    """How many there are."""

    all_reduce: Callable[[Tensor], None] = _alone
    """Replaces a tensor by its sum over all workers; all call it with tensors of one shape, on their device."""

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over workers, in place."""
        if self.size > 1:
            self.all_reduce(tensor)
            tensor /= self.size
        return tensor

    def mean_of_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Replace each parameter's gradient by its mean over workers: one message for all of them."""
        if self.size == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        joined = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(joined, [gradient.numel() for gradient in gradients])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)


ALONE = Ranks()
"""One worker."""
