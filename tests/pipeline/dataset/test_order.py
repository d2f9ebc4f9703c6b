from collections import Counter

import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline.dataset.order import Consumer, Shuffle, equal_share, spans

COUNTS = (5, 0, 17, 1, 8)


def taken(counts, consumers, **how):
    return [
        [
            (span.shard, place)
            for span in spans(counts, Consumer(index=index, count=consumers), **how)
            for place in range(span.start, span.stop)
        ]
        for index in range(consumers)
    ]


@pytest.mark.parametrize("consumers", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("shuffled", [None, (0, 0), (3, 8)])
def test_every_sample_is_read_once_and_shares_differ_by_one(consumers, shuffled):
    parts = taken(COUNTS, consumers, shuffled=shuffled)
    everything = [(shard, place) for shard, count in enumerate(COUNTS) for place in range(count)]
    assert sorted(sample for part in parts for sample in part) == everything
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("consumers", [1, 2, 3, 7])
def test_equal_steps_repeat_or_leave_out_less_than_one_sample_a_reader(consumers, pad):
    length = equal_share(COUNTS, consumers, pad=pad)
    parts = taken(COUNTS, consumers, shuffled=(1, 2), length=length)
    assert {len(part) for part in parts} == {length}
    times = Counter(sample for part in parts for sample in part)
    changed = sum(COUNTS) - len(times) if not pad else sum(n - 1 for n in times.values())
    assert changed == abs(length * consumers - sum(COUNTS)) < consumers
    assert pad is False or len(times) == sum(COUNTS)


def test_more_readers_than_samples_cannot_step_alike():
    with pytest.raises(UsageError, match="3 labeled samples for 4 readers"):
        equal_share((1, 2), 4, pad=True)


@pytest.mark.parametrize(("size", "length"), [(1, 10), (4, 10), (16, 10), (3, 0)])
def test_a_shuffle_gives_each_position_once_and_never_too_early(size, length):
    found = list(Shuffle(size, (1, 2)).over(length))
    assert sorted(found) == list(range(length))
    assert all(position < turn + size for turn, position in enumerate(found))


def test_one_slot_keeps_the_order_and_many_do_not():
    assert list(Shuffle(1, (0,)).over(50)) == list(range(50))
    assert list(Shuffle(20, (0,)).over(50)) != list(range(50))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [tuple(Shuffle(8, seed).over(40)) for seed in ((0, 0), (0, 1), (1, 0))]
    assert len(set(orders)) == 3
    assert tuple(Shuffle(8, (0, 1)).over(40)) == orders[1]
