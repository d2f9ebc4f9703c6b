"""SAN's training on one device: a batch in, an updated model out. Reads no data and writes no file."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from maskmill.models.architecture import Precision
from maskmill.models.clip.pixels import Normalisation
from maskmill.models.san.criterion import LossCounts, losses
from maskmill.models.san.loss_config import LossConfig
from maskmill.models.san.model import San
from maskmill.models.san.point_sampling import SampleRandom
from maskmill.models.training.batch import TrainingBatch
from maskmill.models.training.optimiser import adamw, trainable
from maskmill.models.training.ranks import ALONE, Ranks
from maskmill.models.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """What one update was like, over all workers."""

    step: int
    """Updates done, this one included."""

    total: float
    """The loss that was minimised."""

    losses: Mapping[str, float]
    """Its weighted parts, by the released code's names."""

    learning_rate: float
    """Step size of this update."""

    gradient_norm: float
    """Norm of the gradient over the model, before it was scaled down."""


class Training:
    """A SAN, its optimiser, and how far they are.

    Args:
        model: on its device, in float64 for `dtype` float64, else float32. It is trained in place.
        features: [N, embed_dim], text features of the classes that class maps name; they don't train.
        recipe: steps, rates, sizes.
        loss: weights and points of the losses; the model's number of points by default.
        dtype: bfloat16 runs the model's matrix products in bfloat16 by autocast; weights and losses stay float32.
        ranks: the workers that share each batch.
    """

    def __init__(
        self,
        model: San,
        features: Tensor,
        recipe: Recipe,
        *,
        loss: LossConfig | None = None,
        dtype: Precision = "float32",
        ranks: Ranks = ALONE,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.step = 0
        own = model.ov_classifier.bg_embed
        self._device = own.device
        self._features = features.to(own)
        self._loss = loss or LossConfig(points=model.config.train_num_points)
        self._dtype = dtype
        self._ranks = ranks
        self._optimiser = adamw(model, recipe)
        self._parameters = list(trainable(model).values())
        self._normalisation = Normalisation(own)

    def advance(self, batch: TrainingBatch) -> StepReport:
        """Do one update.

        Args:
            batch: this worker's share of the step's batch; shares are of equal size.

        Raises:
            FloatingPointError: the loss or its gradient isn't finite; the model is left as it was.
        """
        there = batch.to(self._device)
        targets = there.targets()
        counts = self._counts(LossCounts.of(targets, self.model.config.num_queries, self._loss))
        self._optimiser.zero_grad(set_to_none=True)
        images = self._normalisation(there.pixels)
        weights = self.model.ov_classifier.class_weights(self._features)
        with self._arithmetic():
            outputs = self.model(images, weights, self.model.config.deep_supervision)
        found = losses(outputs, targets, SampleRandom(batch.seeds, self._device), self._loss, counts=counts)
        torch.autograd.backward(found.total)
        self._ranks.mean_of_gradients(self._parameters)
        norm = nn.utils.clip_grad_norm_(self._parameters, self.recipe.clip_norm)
        named = found.named()
        # One copy to the host for all numbers of the step.
        numbers = self._ranks.mean(torch.stack([found.total, *named.values(), norm.to(found.total)]).detach())
        total, *parts, length = numbers.tolist()
        if not bool(numbers.isfinite().all()):
            raise FloatingPointError(f"update {self.step + 1}: loss {total}, gradient norm {length}: not finite")
        rate = self.recipe.rate(self.step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        self.step += 1
        return StepReport(
            step=self.step,
            total=total,
            losses=dict(zip(named, parts, strict=True)),
            learning_rate=rate,
            gradient_norm=length,
        )

    def state(self) -> dict[str, Any]:
        """All that the rest of the training follows from, beside its data and the frozen weights.

        No generator is in it: order, augmentation and points follow from seed, epoch and sample, so the number of
        updates done is the position in the data and the random state in one.
        """
        return {
            "step": self.step,
            "model": {name: parameter.detach() for name, parameter in trainable(self.model).items()},
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave, exactly.

        Raises:
            ValueError: it belongs to another model.
        """
        mine = trainable(self.model)
        if set(state["model"]) != set(mine):
            raise ValueError("its parameters are another model's")
        with torch.no_grad():
            for name, parameter in mine.items():
                parameter.copy_(state["model"][name])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])

    def _counts(self, own: LossCounts) -> LossCounts:
        """What all workers divide by, so that the mean of their gradients is the whole batch's."""
        if self._ranks.size == 1:
            return own
        numbers = torch.tensor([own.masks, own.class_weight], dtype=torch.float64, device=self._device)
        masks, class_weight = self._ranks.mean(numbers).to(self._features.dtype)
        return LossCounts(masks=masks, class_weight=class_weight)

    def _arithmetic(self) -> AbstractContextManager[Any]:
        if self._dtype == "bfloat16":
            return torch.autocast(self._device.type, dtype=torch.bfloat16)
        return nullcontext()
