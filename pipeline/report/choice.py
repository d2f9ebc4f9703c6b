"""Chooses the samples that a report shows: random, best, worst, by class, without a segment. It opens no image."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskmill.pipeline.report.sample import Sampled

GROUPS = ("random", "best", "worst", "class", "empty")
"""What a sample may be shown as; `class`: chosen so that as many classes as possible are seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A sample to show."""

    place: int
    """Its number among the drawn samples."""

    span: int
    """The span it is of."""

    row: int
    """Its row in the shard."""

    confidence: float | None
    """The sample's `Sampled.confidence`; None where no segment passes."""

    groups: tuple[str, ...]
    """As which it is shown, of `GROUPS`."""


def choose(
    sampled: Sampled, count: int, random: np.random.Generator, *, shards: int, everything: bool
) -> tuple[list[Choice], int]:
    """Samples to show.

    Args:
        sampled: the drawn samples.
        count: most samples.
        random: drawn from.
        shards: most shards that they may come from: each is fetched whole.
        everything: no filter was asked for; else samples without a passing segment are never shown.

    Returns:
        The choices, and how many samples they were chosen from.
    """
    near = sampled.ok & np.isin(sampled.span, np.unique(sampled.span)[:shards])
    passing = sampled.passing
    full = np.flatnonzero(near & (passing > 0))
    empty = np.flatnonzero(near & (passing == 0)) if everything else np.zeros(0, np.int64)
    pool = np.union1d(full, empty)
    confidence = sampled.confidence
    ranked = full[np.argsort(-confidence[full], kind="stable")]

    part = -(-count // 4)
    groups: dict[int, list[str]] = {}

    def add(group: str, places: NDArray[np.int64], most: int) -> None:
        for place in places[:most].tolist():
            if place in groups or len(groups) < count:
                groups.setdefault(place, []).append(group)

    add("random", random.permutation(pool), part)
    add("best", ranked, part)
    add("worst", ranked[::-1], part)
    add("empty", random.permutation(empty), max(1, count // 12) if count else 0)
    for place in _of_new_classes(sampled, set(groups), full, random):
        if len(groups) >= count:
            break
        groups.setdefault(place, []).append("class")
    chosen = [
        Choice(
            place=place,
            span=int(sampled.span[place]),
            row=int(sampled.row[place]),
            confidence=round(float(confidence[place]), 4) if np.isfinite(confidence[place]) else None,
            groups=tuple(names),
        )
        for place, names in groups.items()
    ]
    return chosen, len(pool)


def _of_new_classes(
    sampled: Sampled, shown: set[int], full: NDArray[np.int64], random: np.random.Generator
) -> Iterator[int]:
    """Samples with a class that no sample before has, the most frequent class first; then any others."""
    mine = np.isin(sampled.image, full)
    images, ids = sampled.image[mine], sampled.segments["vocab_id"][mine]
    seen = set(ids[np.isin(images, list(shown))].tolist())
    classes, counts = np.unique(ids, return_counts=True)
    for vocab_id in classes[np.argsort(-counts, kind="stable")].tolist():
        if vocab_id not in seen:
            place = int(random.choice(images[ids == vocab_id]))
            seen.update(ids[images == place].tolist())
            shown.add(place)
            yield place
    yield from (place for place in random.permutation(full).tolist() if place not in shown)
