"""The made-up mix of sizes follows from a seed, has the shapes it states, and is batched by the replica's own rule."""

from collections import Counter

import pytest

from maskmill.models.resize import ResizeRule
from maskmill.pipeline.bench.mix import LONG_SIDES, RATIOS, batches, sizes


def test_sizes_follow_from_the_seed_and_have_the_shapes_that_are_stated() -> None:
    found = list(sizes(3000))
    assert found[:50] == list(sizes(50))
    assert found[:50] != list(sizes(50, seed=1))
    assert all(min(size) >= 16 and LONG_SIDES[0] <= max(size) <= LONG_SIDES[1] for size in found)
    square = sum(height == width for height, width in found) / len(found)
    assert square == pytest.approx(RATIOS[0][2], abs=0.03)
    # As COCO's training images are said to be: 90% of them between 0.6 and 1.5 high for each pixel of width.
    assert 0.8 < sum(0.6 <= height / width <= 1.5 for height, width in found) / len(found) < 0.95


def test_the_shares_are_those_of_a_plain_count() -> None:
    """At a batch of one nothing waits; padding is what the rule adds."""
    rule = ResizeRule()
    found = batches(rule, 1, 500)
    resized = [rule.size(size) for size in sizes(500)]
    padded = [rule.padded(size) for size in resized]
    area = sum(height * width for height, width in padded)
    assert found.padding == pytest.approx(1 - sum(height * width for height, width in resized) / area)
    assert (found.samples, found.batches, found.sizes) == (500, 500, len(Counter(padded)))
    assert (found.early, found.last, found.empty, found.waiting_bytes) == (0, 0, 0, 0)


def test_images_of_rare_sizes_are_left_for_the_end_of_a_short_shard() -> None:
    rule = ResizeRule()
    found = batches(rule, 32, 400)
    common = Counter(rule.padded(rule.size(size)) for size in sizes(400))
    assert found.early == 0
    assert found.last == pytest.approx(sum(count % 32 for count in common.values()) / 400)
    assert found.empty == pytest.approx(sum(-count % 32 for count in common.values()) / 400)
