from collections import Counter

import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline.dataset.order import Shuffle, rank_share, spans, worker_share

COUNTS = (5, 0, 17, 1, 8)


def taken(world, workers, *, steps="exact", batch_size=1, shuffled=None):
    """The samples of each rank's workers, as (shard, place)."""
    return [
        [
            [
                (span.shard, place)
                for span in spans(COUNTS, worker_share(share, worker, workers, batch_size), shuffled=shuffled)
                for place in range(span.start, span.stop)
            ]
            for worker in range(workers)
        ]
        for share in (rank_share(sum(COUNTS), rank, world, steps) for rank in range(world))
    ]


def joined(parts):
    return [sample for part in parts for sample in part]


@pytest.mark.parametrize("world", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("shuffled", [None, (0, 0), (3, 8)])
def test_every_sample_is_read_once_and_ranks_differ_by_one(world, workers, batch_size, shuffled):
    ranks = [joined(parts) for parts in taken(world, workers, batch_size=batch_size, shuffled=shuffled)]
    everything = [(shard, place) for shard, count in enumerate(COUNTS) for place in range(count)]
    assert sorted(joined(ranks)) == everything
    assert max(map(len, ranks)) - min(map(len, ranks)) <= 1


@pytest.mark.parametrize("steps", ["pad", "drop"])
@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("workers", [1, 3])
def test_equal_steps_repeat_or_leave_out_less_than_one_sample_a_rank(steps, world, workers):
    ranks = [joined(parts) for parts in taken(world, workers, steps=steps, shuffled=(1, 2))]
    (length,) = {len(rank) for rank in ranks}
    times = Counter(joined(ranks))
    changed = sum(COUNTS) - len(times) if steps == "drop" else sum(n - 1 for n in times.values())
    assert changed == abs(length * world - sum(COUNTS)) < world
    assert steps == "drop" or len(times) == sum(COUNTS)


@pytest.mark.parametrize("total", [0, 1, 8, 9, 31])
@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 4, 8])
def test_a_rank_has_as_many_batches_as_one_worker_would_have(total, workers, batch_size):
    shares = [worker_share(range(total), worker, workers, batch_size) for worker in range(workers)]
    assert [place for share in shares for place in share] == list(range(total))
    assert sum(-(-len(share) // batch_size) for share in shares) == -(-total // batch_size)
    assert sum(len(share) // batch_size for share in shares) == total // batch_size


def test_more_ranks_than_samples_cannot_step_alike():
    with pytest.raises(UsageError, match="3 labeled samples for 4 ranks"):
        rank_share(3, 0, 4, "pad")


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
