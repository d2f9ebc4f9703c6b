"""Training batches out of images and their classes: order, decoding and augmentation, all functions of seed and sample.

No worker, thread or resumed job changes what sample n of a training is or how it is cropped: a batch is known by its
number alone.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from maskmill.models.errors import UsageError
from maskmill.models.training.augmentation import UNKNOWN, augment
from maskmill.models.training.batch import TrainingBatch
from maskmill.models.training.ranks import Ranks
from maskmill.models.training.recipe import Augmentation, Recipe
from maskmill.pipeline.evaluation.model import check_sizes, truth_of
from maskmill.pipeline.reading.errors import SampleError
from maskmill.pipeline.reading.images import decode
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.truth.labels import LabeledPair
from maskmill.pipeline.truth.pairs import Pair

AHEAD = 3
"""Batches that are decoded before the model asks for them."""

TRIES = 20
"""An image that can't be decoded gives its place to the next one; after so many in a row the training ends."""

_log = logging.getLogger(__name__)

_Made = TypeVar("_Made")

_Crop = tuple[NDArray[np.uint8], NDArray[np.int16], int]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainingData:
    """The images of a training, in the order of its seed."""

    pairs: Sequence[Pair | LabeledPair]
    """All of them; every worker has the same."""

    ids: NDArray[np.int32]
    """Row of the class features for each vocabulary id; -1 for a class that training leaves out."""

    augmentation: Augmentation
    """How they are cropped."""

    recipe: Recipe
    """For batch size and seed."""

    limits: ReadLimits = ReadLimits()
    """What is refused unread."""

    def place(self, number: int) -> tuple[int, int]:
        """Epoch, and position among `pairs`, of sample `number` of the training, both from 0."""
        epoch, turn = divmod(number, len(self.pairs))
        return epoch, int(_order(self.recipe.seed, epoch, len(self.pairs))[turn])

    def sample(self, number: int) -> _Crop:
        """Sample `number` of the training: its crop, its class map, and the seed of its points.

        Raises:
            UsageError: ground truth that is no class map of the vocabulary, labels that don't fit their image, or image
                after image that can't be decoded.
        """
        pair, image, seed = self.image(number)
        truth: NDArray[np.integer]
        if isinstance(pair, LabeledPair):
            image, truth = pair.taught(image)
        else:
            truth = truth_of(pair, len(self.ids), self.limits)
            check_sizes(pair, truth, image)
        rows = np.where(truth >= 0, self.ids[truth], truth).astype(np.int32)
        pixels, class_map = augment(image, rows, self.augmentation, seed)
        return pixels, class_map, seed

    def image(self, number: int) -> tuple[Pair | LabeledPair, Image.Image, int]:
        """Sample `number` of the training before it is cropped, and what its crop follows from.

        Raises:
            UsageError: image after image can't be decoded.
        """
        epoch, position = self.place(number)
        for turn in range(min(TRIES, len(self.pairs))):
            pair = self.pairs[(position + turn) % len(self.pairs)]
            try:
                image = decode(pair.image.read(), self.limits)
            except SampleError as error:
                _log.warning("%s: %s: %s; another image takes its place", pair.source, pair.key, error)
                continue
            return pair, image, sample_seed(self.recipe.seed, epoch, pair)
        raise UsageError(f"{pair.source}: {TRIES} images in a row can't be decoded. Check the files.")

    @contextmanager
    def batches(self, ranks: Ranks, *, first: int, threads: int) -> Iterator[Iterator[TrainingBatch]]:
        """This worker's share of batch `first` and of all that follow, without end, decoded ahead on threads."""
        with shares(self.sample, self.recipe.batch_size, ranks, first=first, threads=threads) as crops:
            yield (to_batch(share) for share in crops)


@contextmanager
def shares(
    sample: Callable[[int], _Made], batch_size: int, ranks: Ranks, *, first: int, threads: int
) -> Iterator[Iterator[list[_Made]]]:
    """A worker's samples of batch `first` and of all that follow, without end, made ahead on threads.

    Args:
        sample: makes sample `number` of the training; called on threads.
        batch_size: samples of a batch, over all workers.
        ranks: the worker.
        first: batch to begin with, from 0.
        threads: how many make samples.
    """
    share = batch_size // ranks.size
    start = ranks.rank * share
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        ahead: deque[list[Future[_Made]]] = deque()

        def ask(batch: int) -> None:
            numbers = range(batch * batch_size + start, batch * batch_size + start + share)
            ahead.append([pool.submit(sample, number) for number in numbers])

        def taken() -> Iterator[list[_Made]]:
            for batch in range(first, first + AHEAD):
                ask(batch)
            while True:
                made = [future.result() for future in ahead.popleft()]
                batch += 1
                ask(batch)
                yield made

        try:
            yield taken()
        finally:
            for future in [future for futures in ahead for future in futures]:
                future.cancel()


def to_batch(crops: Sequence[_Crop]) -> TrainingBatch:
    """Crops as the model's input."""
    pixels = torch.from_numpy(np.stack([pixels for pixels, _, _ in crops]))
    class_maps = np.stack([class_map for _, class_map, _ in crops])
    present = [np.unique(class_map) for class_map in class_maps]
    return TrainingBatch(
        pixels=pixels.permute(0, 3, 1, 2),
        class_maps=torch.from_numpy(class_maps),
        classes=tuple(tuple(int(row) for row in rows if row >= 0) for rows in present),
        seeds=tuple(seed for _, _, seed in crops),
        unknown=any(UNKNOWN in rows for rows in present),
    )


def sample_seed(seed: int, epoch: int, pair: Pair | LabeledPair) -> int:
    """What a sample's augmentation and points follow from in an epoch: its name, not its place."""
    stated = f"{seed}/{epoch}/{pair.source}/{pair.index}"
    return int.from_bytes(hashlib.sha256(stated.encode()).digest()[:8], "little")


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of an epoch's samples; kept for the epoch under way and the one that is decoded ahead."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch]))).permutation(count)
