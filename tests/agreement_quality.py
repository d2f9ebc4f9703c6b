"""Whether agreement tells quality: `python -m tests.agreement_quality` labels scenes whose truth is known.

Each segment's true IoU is that of its mask with the pixels of its class in the truth: no scene has two objects of one
class. Against it stand the scalars of the segment: Spearman's rank correlation and Pearson's, the mean true IoU of the
segments above and below the scalar's median, and how well it finds segments whose true IoU is below a half: the chance
that one of these has a lower value than one of the others. Scenes are san-tiny's own kind, so that it is better at them
than a model is at photos; `--noise` makes them harder.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, pearsonr, spearmanr

from maskmill.models import zoo
from maskmill.models.agreement.segmenter import with_agreement
from maskmill.models.agreement.views import views_of
from maskmill.models.inference.forms import GeneralInference, Inference, QueriesInference, SemanticInference
from maskmill.models.resize import batch_of
from maskmill.models.segment import Segment
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.synthesis.scene import scene

SEED = 990_001
"""Of scenes that no training saw."""

BATCH = 8

SCALARS = ("agreement", "mask_score", "stability", "score", "margin")

Found = list[tuple[Segment, float]]
"""Segments and their true IoUs."""


def labeled(scenes: int, noise: float, form: Inference, views: str) -> Found:
    """Segments of scenes with Gaussian noise of this standard deviation, in 8-bit steps."""
    segmenter = with_agreement(zoo.load("san-tiny", device="cpu"), views_of(views))
    classes = segmenter.classes(Vocabulary.load("scenes"))
    random = np.random.default_rng(SEED)
    found: Found = []
    for start in range(0, scenes, BATCH):
        made = [scene(SEED, number) for number in range(start, min(start + BATCH, scenes))]
        images = [
            (one.image + random.normal(0, noise, one.image.shape)).round().clip(0, 255).astype(np.uint8) for one in made
        ]
        batch = batch_of(images, [one.class_map.shape for one in made], segmenter.rule)
        for one, segments in zip(made, segmenter.segment(batch, classes, form), strict=True):
            found += [(segment, true_iou(segment, one.class_map)) for segment in segments or ()]
    return found


def true_iou(segment: Segment, class_map: NDArray[np.uint8]) -> float:
    """IoU of a segment with the pixels of its class."""
    truth = class_map == segment.vocab_id
    return float((segment.mask & truth).sum() / (segment.mask | truth).sum())


def told(name: str, values: NDArray[np.float64], true: NDArray[np.float64]) -> str:
    """One line of what a scalar says of the true IoU."""
    above = values > np.median(values)
    halves = [f"{true[half].mean():.3f}" if half.any() else "-" for half in (above, ~above)]
    rank, linear = spearmanr(values, true).statistic, pearsonr(values, true).statistic
    wrong = true < 0.5
    lower = mannwhitneyu(values[~wrong], values[wrong]).statistic / (wrong.sum() * (~wrong).sum())
    return f"  {name:<16}{rank:>10.3f}{linear:>10.3f}{halves[0]:>10}{halves[1]:>10}{lower:>10.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each form."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--score-threshold", type=float, default=0.5)
    chosen = parser.parse_args(arguments)
    forms: dict[str, Inference] = {
        "general": GeneralInference(score_threshold=chosen.score_threshold),
        "queries": QueriesInference(score_threshold=chosen.score_threshold),
        "semantic": SemanticInference(),
    }
    for form, inference in forms.items():
        by_views = {
            views: labeled(chosen.scenes, chosen.noise, inference, views) for views in ("flip", "scale", "flip,scale")
        }
        both = by_views["flip,scale"]
        true = np.array([iou for _, iou in both])
        print(
            f"{form}: {len(both):,} segments of {chosen.scenes:,} scenes, mean true IoU {true.mean():.3f}, "
            f"{(true < 0.5).mean():.1%} below 0.5"
        )
        print(f"  {'':<16}{'Spearman':>10}{'Pearson':>10}{'above':>10}{'below':>10}{'finds':>10}")
        for views in ("flip", "scale"):
            values = np.array([segment.agreement for segment, _ in by_views[views]], np.float64)
            print(told(f"agreement {views}", values, true))
        for name in SCALARS:
            numbers = [getattr(segment, name) for segment, _ in both]
            if None not in numbers:
                print(told(name, np.array(numbers, np.float64), true))


if __name__ == "__main__":
    main()
