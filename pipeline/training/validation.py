"""Scores a model while it trains: its mIoU on images with ground truth, shared out among the workers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from maskmill.models.segmenter import ClassFeatures, Segmenter
from maskmill.models.training.ranks import Ranks
from maskmill.pipeline.evaluation.groups import Groups
from maskmill.pipeline.evaluation.model import evaluate_model
from maskmill.pipeline.evaluation.scores import Evaluation, mean_ious
from maskmill.pipeline.truth.class_map import TruthIds
from maskmill.pipeline.truth.pairs import Source


def validate(
    sources: Sequence[Source],
    segmenter: Segmenter,
    classes: ClassFeatures,
    groups: Groups,
    *,
    ranks: Ranks,
    truth_ids: TruthIds,
    batch_size: int,
    scratch: Path,
) -> dict[str, float]:
    """Mean IoU of each group, in [0, 1]; every worker gets the same.

    Args:
        sources: shards or folders; each worker takes every so-manieth.
        segmenter: the model as it is now.
        classes: the whole vocabulary, classes that training leaves out included.
        groups: what to tell.
        ranks: the workers, all of which call this.
        truth_ids: what the numbers of the ground truth are.
        batch_size: images at once.
        scratch: for shards that have to be downloaded.
    """
    size = len(classes.stuff)
    counts = np.zeros((size, size + 1), np.int64)
    images = 0
    if mine := sources[ranks.rank :: ranks.size]:
        (own,) = evaluate_model(mine, segmenter, classes, truth_ids=truth_ids, batch_size=batch_size, scratch=scratch)
        counts, images = own.counts, own.images
    if ranks.size > 1:
        joined = torch.from_numpy(np.append(counts.flatten(), images)).to(segmenter.device)
        ranks.all_reduce(joined)
        *flat, images = joined.tolist()
        counts = np.array(flat, np.int64).reshape(size, size + 1)
    return mean_ious(Evaluation(name="validation", counts=counts, images=images), groups)
