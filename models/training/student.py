"""DenseCLIP's training on one device: a batch in, an updated model out. Reads no data and writes no file."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from maskmill.models.architecture import Precision
from maskmill.models.clip.pixels import Normalisation
from maskmill.models.denseclip.criterion import PixelTargets, losses
from maskmill.models.denseclip.model import DenseClip
from maskmill.models.training.loop import StepReport
from maskmill.models.training.ranks import ALONE, Ranks
from maskmill.models.training.recipe import Recipe

MIN_RATE = 1e-6
"""The step size never falls below this; every group's, as published."""

WARMUP_RATIO = 1e-6
"""Share of its step size that the first update has."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StudentBatch:
    """B crops of one size, and what every pixel should be."""

    pixels: Tensor
    """uint8 [B, 3, H, W], RGB."""

    targets: PixelTargets
    """Of the same crops."""

    number: int
    """Which update of the training it is for, from 0: what dropout follows from."""

    def to(self, device: torch.device) -> "StudentBatch":
        """The batch on a device."""

        def there(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return StudentBatch(
            pixels=self.pixels.to(device, non_blocking=True),
            targets=PixelTargets(
                rows=self.targets.rows.to(device, non_blocking=True),
                distributions=there(self.targets.distributions),
                weights=there(self.targets.weights),
            ),
            number=self.number,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """How a parameter is stepped, relative to the recipe's numbers."""

    rate: float
    """Times the learning rate."""

    decay: float
    """Times the weight decay."""


def group_of(name: str) -> Group:
    """The group of a parameter that trains.

    Source: DenseCLIP's released configurations: image encoder at a tenth, no decay where `norm` is in a name, which the
    context decoder's norms alone have (the longest of the keys that a name contains decides).
    """
    if name.startswith("backbone."):
        return Group(rate=0.1, decay=1.0)
    return Group(rate=1.0, decay=0.0 if "norm" in name else 1.0)


def learning_rate(recipe: Recipe, warmup: int, group: Group, step: int) -> float:
    """The step size of a group in update `step`, counted from 0.

    A power of what is left of the training, down to `MIN_RATE`, and before that a linear rise over `warmup` updates.

    Source: MMCV's poly policy with linear warm-up, as DenseCLIP's released configurations set it.
    """
    base = recipe.learning_rate * group.rate
    rate = float((base - MIN_RATE) * (1.0 - step / recipe.steps) ** recipe.power + MIN_RATE)
    if step < warmup:
        rate *= 1.0 - (1.0 - step / warmup) * (1.0 - WARMUP_RATIO)
    return rate


class StudentTraining:
    """A DenseCLIP, its optimiser, and how far they are.

    Dropout and stochastic depth follow from seed, worker and update: each update seeds PyTorch's generators anew. Batch
    norms take each worker's own share of a batch; their running statistics are the means over workers.

    Args:
        model: on its device, in float64 for `dtype` float64, else float32. It is trained in place.
        tokens: int [N, T], of the names in vocabulary order.
        recipe: steps, rates, sizes; gradients are not clipped.
        warmup: updates of the rise at the start.
        dtype: bfloat16 runs the model's matrix products in bfloat16 by autocast; weights and losses stay float32.
        ranks: the workers that share each batch.
    """

    def __init__(
        self,
        model: DenseClip,
        tokens: Tensor,
        recipe: Recipe,
        *,
        warmup: int,
        dtype: Precision = "float32",
        ranks: Ranks = ALONE,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.step = 0
        self._warmup = warmup
        self._device = model.gamma.device
        self._tokens = tokens.to(self._device)
        self._dtype = dtype
        self._ranks = ranks
        self._trained = {name: p for name, p in sorted(model.named_parameters()) if p.requires_grad}
        self._parameters = list(self._trained.values())
        self._statistics = [
            buffer for name, buffer in sorted(model.named_buffers()) if name.endswith(("running_mean", "running_var"))
        ]
        self._groups = sorted({group_of(name) for name in self._trained}, key=lambda one: (one.rate, one.decay))
        self._optimiser = AdamW(
            [
                {
                    "params": [p for name, p in self._trained.items() if group_of(name) == group],
                    "weight_decay": recipe.weight_decay * group.decay,
                }
                for group in self._groups
            ],
            lr=recipe.learning_rate,
            fused=False,
        )
        self._normalisation = Normalisation(model.gamma)

    def advance(self, batch: StudentBatch) -> StepReport:
        """Do one update.

        Args:
            batch: this worker's share of the step's batch; shares are of equal size.

        Raises:
            FloatingPointError: the loss or its gradient isn't finite; the weights are left as they were.
        """
        assert batch.number == self.step, "batches come in order"
        there = batch.to(self._device)
        torch.manual_seed(_mixed(self.recipe.seed, self.step, self._ranks.rank))
        self.model.train()
        self._optimiser.zero_grad(set_to_none=True)
        with self._arithmetic():
            # Once an update, not once an image: contexts train, so that yesterday's texts won't do.
            texts = self.model.encode_text(self._tokens)
            output = self.model(self._normalisation(there.pixels), texts)
        found = losses(output, there.targets, self.model.config.tau)
        torch.autograd.backward(found.total)
        self._ranks.mean_of_gradients(self._parameters)
        norm = nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        named = found.named()
        # One copy to the host for all numbers of the step.
        numbers = self._ranks.mean(
            torch.stack(
                [found.total, *(part.to(found.total) for part in named.values()), norm.to(found.total)]
            ).detach()
        )
        total, *parts, length = numbers.tolist()
        if not bool(numbers.isfinite().all()):
            raise FloatingPointError(f"update {self.step + 1}: loss {total}, gradient norm {length}: not finite")
        for group, settings in zip(self._groups, self._optimiser.param_groups, strict=True):
            settings["lr"] = learning_rate(self.recipe, self._warmup, group, self.step)
        self._optimiser.step()
        self._share_statistics()
        self.step += 1
        return StepReport(
            step=self.step,
            total=total,
            losses=dict(zip(named, parts, strict=True)),
            learning_rate=learning_rate(self.recipe, self._warmup, Group(rate=1.0, decay=1.0), self.step - 1),
            gradient_norm=length,
        )

    def state(self) -> dict[str, Any]:
        """All that the rest of the training follows from, beside its data and the frozen text encoder."""
        buffers = {name: buffer.detach() for name, buffer in self.model.named_buffers()}
        return {
            "step": self.step,
            "model": {name: p.detach() for name, p in self._trained.items()} | buffers,
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave, exactly.

        Raises:
            ValueError: it belongs to another model.
        """
        mine: dict[str, Tensor] = {**self._trained, **dict(self.model.named_buffers())}
        if set(state["model"]) != set(mine):
            raise ValueError("its tensors are another model's")
        with torch.no_grad():
            for name, tensor in mine.items():
                tensor.copy_(state["model"][name])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])

    @torch.no_grad()
    def _share_statistics(self) -> None:
        """Running statistics become their means over workers, so that the model is one."""
        if self._ranks.size == 1 or not self._statistics:
            return
        joined = self._ranks.mean(torch.cat([buffer.flatten() for buffer in self._statistics]))
        parts = torch.split(joined, [buffer.numel() for buffer in self._statistics])
        for buffer, part in zip(self._statistics, parts, strict=True):
            buffer.copy_(part.view_as(buffer))

    def _arithmetic(self) -> AbstractContextManager[Any]:
        if self._dtype == "bfloat16":
            return torch.autocast(self._device.type, dtype=torch.bfloat16)
        return nullcontext()


def _mixed(*numbers: int) -> int:
    """One seed out of several."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
