"""Evaluates a segmenter on images with ground truth, by semantic inference. Label tables stand beside."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maskmill.models.errors import UsageError
from maskmill.models.inference.forms import SemanticInference
from maskmill.models.resize import ImageBatch
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.segmenter import ClassFeatures, Segmenter
from maskmill.pipeline.evaluation.confusion import Counts, count
from maskmill.pipeline.evaluation.scores import Evaluation
from maskmill.pipeline.labeling.batching import Batcher, Prepared, to_batch
from maskmill.pipeline.reading.errors import SampleError
from maskmill.pipeline.reading.images import decode
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.truth.class_map import TruthIds, decode_class_map
from maskmill.pipeline.truth.pairs import NO_PAIRS, Pair, Source, open_pairs

if TYPE_CHECKING:
    from PIL import Image

ClassMap = NDArray[np.integer]
"""[h, w] class ids; the number of classes where a pixel has none."""

Predict = Callable[[ImageBatch], list[ClassMap]]
"""The class maps of a batch, each at its image's mask size."""


def evaluate_model(
    sources: Iterable[Source],
    segmenter: Segmenter,
    classes: ClassFeatures,
    *,
    dense_clip: bool = False,
    truth_ids: TruthIds = "vocabulary",
    batch_size: int = 8,
    limits: ReadLimits = ReadLimits(),
    scratch: Path,
) -> list[Evaluation]:
    """Hold a segmenter against the ground truth of shards or folders.

    Args:
        sources: shards or folders (`pipeline.truth.pairs.sources_of`); their class ids are rows of `classes`.
        segmenter: the model, on its device.
        classes: what it is asked about.
        dense_clip: also evaluate the dense features of its CLIP, on the same batches.
        truth_ids: what the numbers of the ground truth are.
        batch_size: images at once.
        limits: what is refused unread.
        scratch: an existing local folder, for shards that have to be downloaded.

    Returns:
        The model's evaluation, then that of its dense CLIP features if they were asked for.

    Raises:
        UsageError: a source that can't be read or holds no ground truth, ids that the vocabulary doesn't have, a ground
            truth of another size than its image, or a model without a CLIP to ask.
    """
    predictors: dict[str, Predict] = {segmenter.name: lambda batch: semantic_maps(segmenter, batch, classes)}
    if dense_clip:
        predictors["dense CLIP"] = _dense_clip(segmenter, classes)
    size = len(classes.stuff)
    totals = {name: np.zeros((size, size + 1), np.int64) for name in predictors}
    images = failed = 0
    for source in sources:
        with open_pairs(source, scratch, limits, ids=truth_ids) as opened:
            for truths, batch in _batches(opened.pairs, segmenter, size, batch_size, limits):
                images += len(truths)
                if batch is None:
                    failed += len(truths)
                for name, predict in predictors.items():
                    maps = [np.full(truth.shape, size) for truth in truths] if batch is None else predict(batch)
                    totals[name] += _counts(truths, maps, size)
    if not images:
        raise UsageError(NO_PAIRS)
    return [Evaluation(name=name, counts=totals[name], images=images, failed=failed) for name in predictors]


def semantic_maps(segmenter: Segmenter, batch: ImageBatch, classes: ClassFeatures) -> list[ClassMap]:
    """The class of every pixel by semantic inference; no class where the model's numbers aren't finite."""
    maps: list[ClassMap] = []
    for segments, mask_size in zip(
        segmenter.segment(batch, classes, SemanticInference()), batch.mask_sizes, strict=True
    ):
        found = np.full(mask_size, len(classes.stuff))
        for segment in segments or ():
            found[segment.mask] = segment.vocab_id
        maps.append(found)
    return maps


def _dense_clip(segmenter: Segmenter, classes: ClassFeatures) -> Predict:
    if not isinstance(segmenter, SanSegmenter):
        raise UsageError(f"--dense-clip: {segmenter.name} has no CLIP to ask. Leave it out.")
    from maskmill.models.san.dense_clip import dense_clip_maps

    return lambda batch: [found.numpy() for found in dense_clip_maps(segmenter, batch, classes)]


def _counts(truths: list[ClassMap], maps: list[ClassMap], classes: int) -> Counts:
    total = np.zeros((classes, classes + 1), np.int64)
    for truth, found in zip(truths, maps, strict=True):
        total += count(truth, found, classes)
    return total


def _batches(
    pairs: Iterable[Pair], segmenter: Segmenter, classes: int, batch_size: int, limits: ReadLimits
) -> Iterator[tuple[list[ClassMap], ImageBatch | None]]:
    """Ground truth and the model's input, batch by batch; no input for an image that can't be decoded."""
    batcher = Batcher(segmenter.rule, batch_size)
    waiting: dict[int, ClassMap] = {}

    def leave(images: list[Prepared]) -> tuple[list[ClassMap], ImageBatch]:
        return [waiting.pop(image.sample_index) for image in images], to_batch(images, segmenter.rule)

    for pair in pairs:
        truth = truth_of(pair, classes, limits)
        try:
            image = decode(pair.image.read(), limits)
        except SampleError:
            yield [truth], None
            continue
        check_sizes(pair, truth, image)
        waiting[pair.index] = truth
        size = (image.height, image.width)
        ready = Prepared(sample_index=pair.index, pixels=segmenter.rule.apply(image), mask_size=size)
        for batch in batcher.add(ready):
            yield leave(batch)
    for batch in batcher.rest():
        yield leave(batch)


def truth_of(pair: Pair, classes: int, limits: ReadLimits) -> ClassMap:
    """A pair's class map.

    Raises:
        UsageError: it can't be read as one of this vocabulary.
    """
    try:
        return decode_class_map(pair.truth.read(), classes, limits, pair.ids)
    except SampleError as error:
        raise UsageError(
            f"{pair.source}: {pair.key!r}: {error.detail}. Mend it, or name the vocabulary that it was made with."
        ) from error


def check_sizes(pair: Pair, truth: ClassMap, image: "Image.Image") -> None:
    """Refuse a ground truth of another size than its image.

    Raises:
        UsageError: it is.
    """
    if truth.shape != (image.height, image.width):
        raise UsageError(
            f"{pair.source}: {pair.key!r}: ground truth of {truth.shape[1]} x {truth.shape[0]} pixels, "
            f"image of {image.width} x {image.height}. Make them one size."
        )
