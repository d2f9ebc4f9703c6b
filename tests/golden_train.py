"""Runs a golden training set through our SAN: losses and gradients with the recorded random numbers.

SET_train.json describes sizes, weights (by rule), vocabulary, images and loss weights; SET_train.npz beside it holds
true masks and the uniform numbers, in the order in which the authors' code drew them: the final depth first, and of
each depth one row an image for matching, then candidates, then uniform points.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskmill.models.san.criterion import Losses, losses
from maskmill.models.san.loss_config import LossConfig
from maskmill.models.san.model import SanOutput
from maskmill.models.san.point_sampling import Draw
from maskmill.models.san.targets import Target
from maskmill.models.vocabulary import Entry, Vocabulary
from maskmill.models.vocabulary.templates import DEFAULT_TEMPLATES, TEMPLATE_SETS
from tests.golden import model_input, segmenter_of

Stored = Mapping[str, NDArray[Any]]


class RecordedRandom:
    """The random numbers of a set, as a `PointRandom`.

    Args:
        arrays: `rand_0`, `rand_1`, ...
        images: images of the batch.
        levels: supervised depths.
    """

    def __init__(self, arrays: Stored, images: int, levels: int) -> None:
        recorded = [arrays[f"rand_{i}"] for i in range(sum(name.startswith("rand_") for name in arrays))]
        assert len(recorded) % levels == 0, f"{len(recorded)} draws for {levels} depths"
        each = len(recorded) // levels
        assert each in (images + 1, images + 2), f"{each} draws a depth for {images} images"
        self.images = images
        # Their order is final depth, then the earlier ones; outputs have the final depth last.
        parts = [recorded[start : start + each] for start in range(0, len(recorded), each)]
        self.levels = [*parts[1:], parts[0]]

    def __call__(self, draw: Draw, images: Sequence[int], points: int) -> Tensor:
        arrays = self.levels[draw.level]
        if draw.use == "matching":
            numbers = np.concatenate([arrays[image] for image in images])
        else:
            numbers = arrays[self.images + (draw.use == "fill")]
        assert numbers.shape == (len(images), points, 2), f"{draw}: {numbers.shape}, asked for {len(images), points, 2}"
        return torch.from_numpy(numbers)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRun:
    """What one forward and backward pass gave."""

    outputs: tuple[SanOutput, ...]
    losses: Losses
    gradients: dict[str, Tensor | None]
    """Of all parameters that train."""

    def numbers(self) -> dict[str, Any]:
        """Losses, their sum and gradient norms under the names of SET_train.json."""
        return {
            "losses_weighted": {name: loss.item() for name, loss in self.losses.named().items()},
            "total": self.losses.total.item(),
            "grad_norms": {
                name: gradient.norm().item() for name, gradient in self.gradients.items() if gradient is not None
            },
            "no_grad": [name for name, gradient in self.gradients.items() if gradient is None],
        }


def run(path: Path, *, float64: bool = False) -> TrainRun:
    """One step of a set, without the update."""
    golden, arrays = json.loads(path.read_text()), dict(np.load(path.with_suffix(".npz")))
    segmenter = segmenter_of(golden, float64=float64)
    model = segmenter.model
    inputs = model_input(segmenter, [(height, width, seed) for height, width, seed, _ in golden["cases"]])
    vocabulary = Vocabulary(tuple(Entry(vocab_id=i, name=name) for i, name in enumerate(golden["vocab"])))
    features = segmenter.encode_text(vocabulary, golden.get("templates", TEMPLATE_SETS[DEFAULT_TEMPLATES]))
    depths = sorted(model.config.deep_supervision)
    outputs = model(inputs, model.ov_classifier.class_weights(features), depths)
    found = losses(
        outputs,
        targets_of(arrays, len(inputs), (inputs.shape[-2], inputs.shape[-1])),
        RecordedRandom(arrays, len(inputs), len(depths)),
        loss_config(golden),
    )
    found.total.backward()
    trained = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    return TrainRun(outputs=outputs, losses=found, gradients=trained)


def loss_config(golden: Mapping[str, Any]) -> LossConfig:
    """The losses' numbers as a set states them; what it doesn't state is as published."""
    weights = golden["weight_dict"]
    return LossConfig(
        class_weight=weights["loss_ce"],
        mask_weight=weights["loss_mask"],
        dice_weight=weights["loss_dice"],
        points=golden["config"]["train_num_points"],
    )


def targets_of(arrays: Stored, images: int, padded: tuple[int, int]) -> list[Target]:
    """The true masks of a set, at the padded size."""
    found = []
    for i in range(images):
        count, height, width = arrays[f"gt_masks_shape_{i}"].tolist()
        bits = np.unpackbits(arrays[f"gt_masks_{i}"], count=count * height * width)
        masks = torch.zeros(count, *padded, dtype=torch.bool)
        masks[:, :height, :width] = torch.from_numpy(bits.reshape(count, height, width).astype(bool))
        found.append(Target(masks=masks, class_ids=torch.from_numpy(arrays[f"gt_classes_{i}"])))
    return found
