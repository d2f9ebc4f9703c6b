import numpy as np
import pytest

from maskmill.pipeline.report.choice import choose
from maskmill.pipeline.report.sample import Sampled, Span
from maskmill.pipeline.table.segment_columns import SCALARS


def sampled(images=200, shards=10, seed=0):
    """Images with one to three segments each, but every tenth has none and every eleventh failed."""
    random = np.random.default_rng(seed)
    counts = random.integers(1, 4, images)
    counts[::10] = 0
    counts[::11] = 0
    image = np.repeat(np.arange(images), counts)
    segments = {name: random.random(len(image)).astype(kind) for name, kind in SCALARS.items()}
    segments["vocab_id"] = random.integers(0, 30, len(image)).astype(np.int32)
    segments["area"] = random.integers(1, 100, len(image)).astype(np.int32)
    ok = np.ones(images, bool)
    ok[::11] = False
    span = np.sort(random.integers(0, shards, images))
    return Sampled(
        spans=tuple(Span(shard=f"/{number}.tar", first=0, count=images) for number in range(shards)),
        span=span,
        row=np.arange(images),
        ok=ok,
        pixels=np.full(images, 100),
        found=counts,
        image=image,
        segments=segments,
        unread=(),
        cut=False,
    )


def chosen(sample, count, *, shards=100, everything=True, seed=0):
    return choose(sample, count, np.random.default_rng(seed), shards=shards, everything=everything)


def test_best_and_worst_are_what_they_say():
    sample = sampled()
    choices, chosen_from = chosen(sample, 40)
    assert chosen_from == int(sample.ok.sum())
    ranked = np.flatnonzero(sample.passing > 0)
    ranked = ranked[np.argsort(-sample.confidence[ranked])]
    for group, wanted in (("best", ranked[:10]), ("worst", ranked[-10:])):
        assert {choice.place for choice in choices if group in choice.groups} == set(wanted.tolist())


@pytest.mark.parametrize("count", [0, 1, 2, 7, 40, 400])
def test_there_are_as_many_as_asked_for_and_none_twice(count):
    sample = sampled()
    choices, _ = chosen(sample, count)
    places = [choice.place for choice in choices]
    assert len(set(places)) == len(places)
    assert len(places) <= count
    if count == 40:
        assert len(places) == 40
    assert sample.ok[places].all()


def test_classes_are_covered_before_any_is_repeated():
    sample = sampled()
    choices, _ = chosen(sample, 60)
    covered = set(sample.segments["vocab_id"][np.isin(sample.image, [c.place for c in choices])].tolist())
    assert covered == set(sample.segments["vocab_id"].tolist())


def test_images_come_from_few_shards():
    assert len({choice.span for choice in chosen(sampled(), 60, shards=3)[0]}) == 3


def test_images_without_a_segment_are_shown_unless_a_filter_is_asked_for():
    sample = sampled()
    empty = {choice.place for choice in chosen(sample, 60)[0] if sample.passing[choice.place] == 0}
    assert empty
    assert all(sample.passing[choice.place] for choice in chosen(sample, 60, everything=False)[0])
