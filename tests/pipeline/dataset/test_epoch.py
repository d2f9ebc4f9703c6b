import copy
import pickle

import pytest
import torch.multiprocessing

from maskmill.pipeline.dataset.epoch import Epoch


def _begin_three_times(epoch, numbers, go):
    for _ in range(3):
        go.get()
        numbers.put(epoch.begin(worker=True))


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_worker_sees_the_number_whenever_it_was_set(start):
    context = torch.multiprocessing.get_context(start)
    numbers, go = context.SimpleQueue(), context.SimpleQueue()
    epoch = Epoch()
    epoch.set(5)
    worker = context.Process(target=_begin_three_times, args=(epoch, numbers, go))
    worker.start()
    seen = []
    for number in (8, 3, 3):  # the first iteration has the number that the worker was started with
        epoch.set(number)
        go.put(None)
        seen.append(numbers.get())
    worker.join()
    assert seen == [5, 3, 3]


def test_persisting_workers_begin_with_one_number_also_if_another_is_set_between():
    """Torch begins them one after the other, and doesn't wait for the last."""
    epoch = Epoch()
    epoch.set(5)
    one, two, other = (copy.copy(epoch) for _ in range(3))
    assert [worker.begin(worker=True, workers=7) for worker in (one, two)] == [5, 5]
    epoch.set(8)
    assert one.begin(worker=True, workers=7) == 8
    epoch.set(9)
    assert two.begin(worker=True, workers=7) == 8
    assert [worker.begin(worker=True, workers=7) for worker in (two, one)] == [9, 9]
    # Another DataLoader over the same data set.
    assert [other.begin(worker=True, workers=100) for _ in range(2)] == [5, 9]


def test_copies_have_a_number_of_their_own():
    epoch = Epoch()
    epoch.set(4)
    for other in (copy.deepcopy(epoch), pickle.loads(pickle.dumps(epoch))):
        other.set(6)
        assert (epoch.begin(worker=False), other.begin(worker=False)) == (4, 6)
        assert other.begin(worker=True) == other.begin(worker=True) == 6


def test_a_number_that_was_never_set_is_none():
    epoch = Epoch()
    assert [epoch.begin(worker=worker) for worker in (False, True, True)] == [None] * 3
    assert not epoch.read
    epoch.mark_read()
    assert epoch.read
    epoch.set(0)
    assert not epoch.read
    assert epoch.begin(worker=False) == 0
