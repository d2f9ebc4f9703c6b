"""The model that is measured, with what it is asked about: released weights and a label set, or made-up ones."""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models import zoo
from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.resize import ImageBatch
from maskmill.models.san.config import SanConfig
from maskmill.models.san.model import SanOutput
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.san.untrained import FillRule
from maskmill.models.segmenter import ClassFeatures
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.bench.config import RANDOM, BenchConfig
from maskmill.pipeline.labeling.placement import CPU_BATCH, GPU_BATCH

RANDOM_NAMES = 171
"""Made-up names where the weights are made up and no number is given: as many as COCO-Stuff has."""

STUFF_SHARE = 0.53
"""Share of made-up names that are stuff: 91 of 171, as in COCO-Stuff."""

FILL = FillRule(salt="bench/")
"""Weights by rule."""

CONFIDENT, KEPT = 14, 10
"""Queries of a made-up image that are sure of their class, and segments that are left once they competed: about what a
photo has."""


class MadeUpLabels(SanSegmenter):
    """A SAN that computes all it always does, and whose logits are then replaced by made-up ones before they become
    segments: of random weights or random names nothing would be kept, and segments would cost nothing.
    """

    def logits(self, batch: ImageBatch, classes: ClassFeatures) -> SanOutput:
        """Made-up logits of the shape and type of the model's, which are computed first."""
        real = super().logits(batch, classes)
        names = real.class_logits.shape[2] - 1
        masks, made = made_up_logits(real.mask_logits.shape[1:], names, real.mask_logits.device)
        return SanOutput(mask_logits=masks.expand_as(real.mask_logits), class_logits=made.expand_as(real.class_logits))


@lru_cache(maxsize=4)
def made_up_logits(shape: torch.Size, names: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Float32 mask logits [Q, h, w] and class logits [Q, names + 1] of an image with `KEPT` objects side by side.

    `CONFIDENT` queries name a class; those beyond the first `KEPT` see an object that another is surer of.
    """
    queries, height, width = shape
    kept, confident = min(KEPT, queries), min(CONFIDENT, queries)
    draw = torch.Generator().manual_seed(0)
    with torch.inference_mode(False):
        coarse = torch.randn(1, kept, 12, 12, generator=draw)
        fields = functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)[0]
        highest = fields.topk(min(2, kept), dim=0).values
        # Above 0 where a field is the highest, by how much it is.
        edges = 8.0 * (fields - torch.where(fields == highest[0], highest[-1], highest[0]))
        masks = edges[torch.arange(queries) % kept].contiguous()
        classes = torch.randn(queries, names + 1, generator=draw)
        sure = torch.arange(confident)
        classes[sure, sure % names] = torch.where(sure < kept, 30.0, 24.0)
        classes[confident:, -1] = 30.0
        return masks.to(device), classes.to(device)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subject:
    """What is measured."""

    segmenter: SanSegmenter
    """The model on its device."""

    classes: ClassFeatures
    """What it is asked about, on its device."""

    batch_size: int
    """Images in a batch."""

    size: int
    """Short side of its input, in pixels."""

    names: int
    """How many names."""

    notes: tuple[str, ...]
    """What of it is made up."""


def subject_of(config: BenchConfig) -> Subject:
    """Load or make the model.

    Raises:
        UsageError: an unknown model, weights that don't fit, a device that isn't there.
        EnvironmentFailure: the released weights can't be fetched.
    """
    spec = zoo.MODELS.get(config.model)
    if spec is None or not isinstance(spec.config, SanConfig):
        known = ", ".join(name for name, one in zoo.MODELS.items() if isinstance(one.config, SanConfig))
        raise UsageError(f"--model {config.model!r}: not a model that is measured. Those are {known}.")
    sizes = spec.config
    if config.windows is not None and config.size is not None and config.size % sizes.size_divisibility:
        raise UsageError(
            f"--size {config.size}: with --windows expected a multiple of {sizes.size_divisibility} pixels. "
            f"Try {-(-config.size // sizes.size_divisibility) * sizes.size_divisibility}."
        )
    device = zoo.pick_device(config.device)
    notes = []
    if config.weights == RANDOM:
        notes.append("weights are random: labels mean nothing")
        state = FILL.state(zoo.shapes(sizes))
        loaded = zoo.build(
            sizes, state, name=spec.name, rule=spec.rule, device=device, dtype=config.dtype, source=RANDOM
        )
        loaded.settle()
    else:
        try:
            loaded = zoo.load(config.model, weights=config.weights, device=device.type, dtype=config.dtype)
        except EnvironmentFailure as error:
            raise EnvironmentFailure(f"{error} To measure without them: --weights {RANDOM}.") from error
    assert isinstance(loaded, SanSegmenter)
    segmenter = loaded
    if config.size is not None:
        # A long side of 4 x the short one, as published (640 and 2,560).
        segmenter.rule = replace(spec.rule, short_side=config.size, long_side_cap=4 * config.size)
    if config.names is not None or config.weights == RANDOM:
        count = config.names or RANDOM_NAMES
        notes.append(f"{count:,} made-up names with random text features")
        notes.append(f"the model's logits are replaced by made-up ones with {KEPT} objects before segments are made")
        classes = made_up(count, sizes.clip.embed_dim)
        segmenter = MadeUpLabels(
            segmenter.model,
            name=segmenter.name,
            weights=segmenter.weights,
            rule=segmenter.rule,
            dtype=segmenter.dtype,
        )
    else:
        classes = segmenter.classes(Vocabulary.load(spec.default_vocabulary))
    return Subject(
        segmenter=segmenter,
        classes=classes.to(device),
        batch_size=config.batch_size or (GPU_BATCH if device.type == "cuda" else CPU_BATCH),
        size=segmenter.rule.short_side,
        names=len(classes.features),
        notes=tuple(notes),
    )


def made_up(names: int, width: int) -> ClassFeatures:
    """Random features of so many names, each of length 1; the same for the same arguments."""
    features = torch.randn(names, width, generator=torch.Generator().manual_seed(0))
    stuff = torch.arange(names) >= round(names * (1 - STUFF_SHARE))
    return ClassFeatures(features=functional.normalize(features, dim=-1), stuff=stuff)
