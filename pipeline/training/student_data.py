"""A student's batches: crops with what every pixel should be, out of ground truth or of a label table.

Order, crops and threads are `TrainingData`'s; here is what labels say of a pixel: one class or a distribution, and how
sure they are.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from maskmill.models.denseclip.criterion import PixelTargets
from maskmill.models.training.augmentation import augment
from maskmill.models.training.ranks import Ranks
from maskmill.models.training.student import StudentBatch
from maskmill.pipeline.evaluation.model import check_sizes, truth_of
from maskmill.pipeline.training.data import TrainingData, shares
from maskmill.pipeline.truth.labels import LabeledPair

NOBODY_KNOWS = -1
"""Row of a pixel that teaches nothing."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Crop:
    """One crop, and the regions of its image."""

    pixels: NDArray[np.uint8]
    """[side, side, 3], RGB."""

    regions: NDArray[np.int16]
    """[side, side]: region of each pixel, negative where there is none."""

    classes: NDArray[np.int64]
    """[R], class of each region; `NOBODY_KNOWS` where it teaches nothing."""

    weights: NDArray[np.float32]
    """[R], how much a region's pixels count."""

    distributions: NDArray[np.float32] | None
    """[R, N], of each region; None for hard targets."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StudentData:
    """The images of a student's training."""

    data: TrainingData
    """Images, order and crops; `ids` has a row for every name, -1 for those left out."""

    soft: bool = False
    """Distributions instead of classes; labels alone have some."""

    weighed: bool = False
    """Pixels count as much as their segment's score."""

    @contextmanager
    def batches(self, ranks: Ranks, *, first: int, threads: int) -> Iterator[Iterator[StudentBatch]]:
        """This worker's share of batch `first` and of all that follow, without end, decoded ahead on threads."""
        with shares(self.sample, self.data.recipe.batch_size, ranks, first=first, threads=threads) as crops:
            yield (self.batch(number, share) for number, share in enumerate(crops, start=first))

    def sample(self, number: int) -> Crop:
        """Sample `number` of the training.

        Raises:
            UsageError: as `TrainingData.sample`.
        """
        pair, image, seed = self.data.image(number)
        if isinstance(pair, LabeledPair):
            image, places = pair.painted(image)
            classes = np.array([self._row(vocab_id) for vocab_id in pair.ids], np.int64)
            weights = np.array(pair.scores, np.float32)
            distributions = self._distributions(pair) if self.soft else None
        else:
            truth = truth_of(pair, len(self.data.ids), self.data.limits)
            check_sizes(pair, truth, image)
            places, classes = truth.astype(np.int32), self.data.ids.astype(np.int64)
            weights, distributions = np.ones(len(classes), np.float32), None
        pixels, regions = augment(image, places, self.data.augmentation, seed)
        return Crop(
            pixels=pixels,
            regions=regions,
            classes=classes,
            weights=weights if self.weighed else np.ones_like(weights),
            distributions=distributions,
        )

    def batch(self, number: int, crops: Sequence[Crop]) -> StudentBatch:
        """Crops as batch `number`."""
        pixels = torch.from_numpy(np.stack([crop.pixels for crop in crops])).permute(0, 3, 1, 2)
        weights = np.stack([_of_pixels(crop, crop.weights, 0.0) for crop in crops]) if self.weighed else None
        rows, first = [], 0
        for crop in crops:
            if crop.distributions is None:
                rows.append(_of_pixels(crop, crop.classes, NOBODY_KNOWS))
                continue
            own = np.where(crop.classes >= 0, np.arange(first, first + len(crop.classes)), NOBODY_KNOWS)
            rows.append(_of_pixels(crop, own, NOBODY_KNOWS))
            first += len(crop.classes)
        soft = [crop.distributions for crop in crops if crop.distributions is not None]
        return StudentBatch(
            pixels=pixels,
            targets=PixelTargets(
                rows=torch.from_numpy(np.stack(rows)),
                distributions=torch.from_numpy(np.concatenate(soft)) if soft else None,
                weights=None if weights is None else torch.from_numpy(weights),
            ),
            number=number,
        )

    def _row(self, vocab_id: int) -> int:
        return int(self.data.ids[vocab_id]) if vocab_id >= 0 else NOBODY_KNOWS

    def _distributions(self, pair: LabeledPair) -> NDArray[np.float32]:
        """[segments, N]: the softmax over what a segment's row lists and training doesn't leave out.

        The classes that a row doesn't list, and background, have what is left of 1: nothing says how they share it.
        """
        found = np.zeros((len(pair.ids), len(self.data.ids)), np.float32)
        for place, (ids, logits) in enumerate(pair.listed):
            known = [
                (row, logit) for vocab_id, logit in zip(ids, logits, strict=True) if (row := self._row(vocab_id)) >= 0
            ]
            if known:
                rows, values = (np.array(numbers) for numbers in zip(*known, strict=True))
                shares_of = np.exp(values - values.max())
                found[place, rows] = shares_of / shares_of.sum()
        return found


def _of_pixels(crop: Crop, values: NDArray[np.generic], outside: float) -> NDArray[np.generic]:
    """What each pixel's region has; `outside` where it has none."""
    return np.append(values, np.array(outside, values.dtype))[np.where(crop.regions < 0, len(values), crop.regions)]
