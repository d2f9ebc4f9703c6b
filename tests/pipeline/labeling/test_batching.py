"""Batches are a function of the samples' order and sizes: nothing is lost, mixed or kept waiting for long."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.models.resize import ResizeRule, SlidingRule
from maskmill.pipeline.labeling.batching import (
    SOFT_WINDOW_SAMPLES,
    WAITING_BYTES,
    WINDOW_SAMPLES,
    Batcher,
    Prepared,
    to_batch,
)

RULE = ResizeRule(multiple=32)
SIZES = ((32, 32), (30, 17), (32, 64), (64, 32), (33, 32))


def image(index: int, size: tuple[int, int] = (32, 32)) -> Prepared:
    return Prepared(sample_index=index, pixels=np.full((*size, 3), index % 256, np.uint8), mask_size=size)


def indices(batches: list[list[Prepared]]) -> list[list[int]]:
    return [[prepared.sample_index for prepared in batch] for batch in batches]


def cut(sequence: list[tuple[int, tuple[int, int]]], batch_size: int) -> list[list[int]]:
    """Indices of all batches of a shard whose decoded samples are these (index, size) pairs."""
    batcher = Batcher(RULE, batch_size)
    left = [batch for index, size in sequence for batch in batcher.add(image(index, size))]
    return indices(left + batcher.rest())


def indexed(steps: list[tuple[int, tuple[int, int]]]) -> list[tuple[int, tuple[int, int]]]:
    """Steps between samples as their indices; steps above 1 stand for samples that failed to decode."""
    return [(sum(step for step, _ in steps[: i + 1]) - 1, size) for i, (_, size) in enumerate(steps)]


shards = st.lists(st.tuples(st.integers(1, 5), st.sampled_from(SIZES)), max_size=200).map(indexed)


def test_a_full_batch_leaves_at_once():
    batcher = Batcher(RULE, 2)
    assert batcher.add(image(0)) == []
    assert indices(batcher.add(image(1))) == [[0, 1]]
    assert batcher.rest() == []


def test_sizes_that_pad_to_the_same_share_a_batch_and_others_do_not():
    assert cut([(0, (32, 32)), (1, (33, 32)), (2, (30, 17)), (3, (64, 32))], 2) == [[0, 2], [1, 3]]


def test_a_rare_size_leaves_once_the_window_has_passed():
    window = WINDOW_SAMPLES
    batcher = Batcher(RULE, 2)
    batcher.add(image(0, (64, 64)))
    left = [(index, batch) for index in range(1, window + 1) for batch in indices(batcher.add(image(index)))]
    assert (window, [0]) in left
    assert all(batch != [0] for index, batch in left if index < window)


def test_images_with_windows_share_a_batch_by_their_grids_and_fill_it_by_their_pixels():
    batcher = Batcher(SlidingRule(short_side=32, long_side_cap=128, multiple=32, scale=2.0), 8)
    sequence = [(64, 64), (32, 32), (60, 64), (64, 64), (64, 50)]  # 9, 1, 9, 9 and 6 windows; 8 / 2^2 in a batch
    left = [batch for index, size in enumerate(sequence) for batch in batcher.add(image(index, size))]
    assert indices(left) == [[0, 2]]
    assert indices(batcher.rest()) == [[1], [3], [4]]


@given(shards, st.integers(1, 5))
def test_every_image_leaves_exactly_once_and_in_shard_order(sequence, batch_size):
    batches = cut(sequence, batch_size)
    assert sorted(index for batch in batches for index in batch) == [index for index, _ in sequence]
    assert all(batch == sorted(batch) and 1 <= len(batch) <= batch_size for batch in batches)


@given(shards, st.integers(1, 5))
def test_a_batch_has_one_padded_size(sequence, batch_size):
    sizes = dict(sequence)
    for batch in cut(sequence, batch_size):
        assert len({RULE.padded(sizes[index]) for index in batch}) == 1


def large(index: int, size: tuple[int, int]) -> Prepared:
    """An image that counts as many bytes as it has, and takes none."""
    return Prepared(sample_index=index, pixels=np.broadcast_to(np.uint8(0), (*size, 3)), mask_size=size)


LARGE = ((640, 640), (640, 2560), (2560, 640), (2000, 2000), (3000, 4000))
far = st.lists(st.tuples(st.integers(1, 3000), st.sampled_from(LARGE)), max_size=60).map(indexed)


@given(far, st.integers(1, 9), st.sampled_from([WINDOW_SAMPLES, SOFT_WINDOW_SAMPLES]))
def test_what_waits_is_bounded_in_samples_and_in_bytes_whatever_the_shard(sequence, batch_size, window):
    batcher = Batcher(RULE, batch_size, window=window)
    waiting: dict[int, int] = {}
    for index, size in sequence:
        waiting[index] = size[0] * size[1] * 3
        left = {prepared.sample_index for batch in batcher.add(large(index, size)) for prepared in batch}
        waiting = {other: count for other, count in waiting.items() if other not in left}
        assert all(index - other < window for other in waiting)
        assert sum(waiting.values()) <= WAITING_BYTES * batch_size
    assert batcher.counts.most_bytes <= WAITING_BYTES * batch_size


def test_where_too_many_bytes_wait_the_batch_leaves_that_began_first():
    batcher = Batcher(RULE, 2)  # 64 MiB: six of these images, not seven
    sequence = [(1024, 3328 + 32 * n) for n in range(7)]
    assert [indices(batcher.add(large(index, size))) for index, size in enumerate(sequence)] == [[]] * 6 + [[[0]]]
    assert batcher.counts.early_images == 1


def test_batches_and_their_padding_are_counted():
    batcher = Batcher(RULE, 2)
    for index, size in enumerate([(32, 32), (30, 17), (64, 32)]):
        batcher.add(image(index, size))
    batcher.passed(WINDOW_SAMPLES + 2)
    batcher.add(image(WINDOW_SAMPLES + 3, (20, 32)))
    batcher.rest()
    counts = batcher.counts
    assert (counts.images, counts.batches, counts.slots) == (4, 3, 6)
    assert (counts.short_images, counts.short_batches) == (2, 2)
    assert (counts.early_images, counts.early_batches) == (1, 1)
    assert counts.pixels == 32 * 32 * 5
    assert counts.padding == (32 * 32 - 30 * 17) + 12 * 32
    assert counts.sizes == {(32, 32): 2, (64, 32): 1}


@given(shards, st.integers(1, 5), st.integers(0, 200))
def test_batches_that_have_left_do_not_depend_on_what_comes_later(sequence, batch_size, stop):
    def left_before(samples):
        batcher = Batcher(RULE, batch_size)
        return indices([batch for index, size in samples for batch in batcher.add(image(index, size))])

    part = left_before(sequence[:stop])
    assert left_before(sequence)[: len(part)] == part


@pytest.mark.parametrize("size", [(32, 32), (30, 17)])
def test_the_models_input_holds_the_pixels_where_they_belong(size):
    batch = to_batch([image(3, size), image(4, (32, 32))], RULE)
    height, width = size
    assert batch.pixels.shape == (2, 3, 32, 32)
    assert batch.sizes == (size, (32, 32))
    assert batch.mask_sizes == (size, (32, 32))
    assert bool((batch.pixels[0, :, :height, :width] == 3).all())
    assert bool((batch.pixels[1] == 4).all())


def test_samples_that_failed_to_decode_also_end_the_wait_of_a_rare_size():
    batcher = Batcher(RULE, 2)
    assert batcher.add(image(0)) == []
    last = WINDOW_SAMPLES
    assert batcher.passed(last - 1) == []
    assert indices(batcher.passed(last)) == [[0]]
