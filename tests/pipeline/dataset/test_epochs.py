"""Epochs of the reader under DataLoaders: their order, their length, and where they go on."""

import copy
import logging
from collections import Counter
from functools import cache
from itertools import islice

import pytest
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from maskmill.models.errors import UsageError
from maskmill.pipeline.dataset import LabeledImages


def names(samples):
    return [(sample.shard, sample.sample_index) for sample in samples]


def place(sample):
    return sample.shard, sample.sample_index


def places(batch):
    return names(batch)


@cache
def epoch_of(url, number):
    """What an epoch is for a reader that has done nothing else."""
    data = LabeledImages(url, shuffle=5, seed=3)
    data.set_epoch(number)
    return list(DataLoader(data, batch_size=None, collate_fn=place, num_workers=2))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("loader", "start", "persistent"),
    [
        (DataLoader, "fork", True),
        (StatefulDataLoader, "fork", True),
        pytest.param(DataLoader, "fork", False, marks=SLOW),
        pytest.param(StatefulDataLoader, "fork", False, marks=SLOW),
        pytest.param(DataLoader, "spawn", True, marks=SLOW),
        pytest.param(StatefulDataLoader, "spawn", True, marks=SLOW),
    ],
)
def test_an_epoch_follows_from_its_number_whatever_happened_before(run_of, loader, start, persistent):
    data = LabeledImages(run_of[1].url, shuffle=5, seed=3)
    loaded = loader(data, batch_size=None, collate_fn=place, num_workers=2, persistent_workers=persistent,
                    multiprocessing_context=start)  # fmt: skip
    expected = {number: epoch_of(run_of[1].url, number) for number in (0, 3, 5)}
    assert list(loaded) == expected[0]
    for number, taken in ((5, None), (3, None), (3, 4), (3, None), (0, 1), (5, None)):
        data.set_epoch(number)
        assert list(islice(loaded, taken)) == expected[number][:taken]
    assert len({tuple(epoch) for epoch in expected.values()}) == 3
    assert all(len(set(epoch)) == 15 for epoch in expected.values())


def test_a_number_that_is_set_while_workers_start_divides_no_epoch(run_of):
    data = LabeledImages(run_of[1].url, shuffle=5, seed=3)
    batches = iter(DataLoader(data, batch_size=None, collate_fn=place, num_workers=2))
    data.set_epoch(5)
    assert list(batches) == epoch_of(run_of[1].url, 0)


def test_without_a_number_epochs_are_alike_and_a_warning_says_so(run_of, caplog):
    data = LabeledImages(run_of[1].url, shuffle=8)
    first = names(data)
    assert "call set_epoch" not in caplog.text.lower()
    assert names(data) == first
    assert "epoch 0 is read again, in the same order" in caplog.text
    data.set_epoch(1)
    assert sorted(names(data)) == sorted(first) != names(data)


def test_iterations_of_one_reader_do_not_disturb_each_other(run_of):
    data = LabeledImages(run_of[1].url, shuffle=8)
    expected = names(data)
    one, other = iter(data), iter(data)
    found = [(next(one), next(other)) for _ in expected]
    assert names(first for first, _ in found) == names(second for _, second in found) == expected


@pytest.mark.parametrize("number", [-1, 1.5, True, "2", None])
def test_a_number_is_a_whole_one(run_of, number):
    with pytest.raises(UsageError, match=r"epoch=.*whole number"):
        LabeledImages(run_of[1].url).set_epoch(number)


@pytest.mark.parametrize(
    ("workers", "batch_size", "drop_last"), [(0, 4, False), (2, 4, False), (2, 4, True), (2, 1, False)]
)
def test_a_loader_has_as_many_batches_as_its_length_says(run_of, workers, batch_size, drop_last):
    for rank, length in ((0, 7), (1, 8)):
        data = LabeledImages(run_of[1].url, rank=rank, world=2, batch_size=batch_size)
        loader = DataLoader(data, batch_size=batch_size, num_workers=workers, collate_fn=places, drop_last=drop_last)
        batches = list(loader)
        assert len(batches) == len(loader)
        assert len(data) == length
        assert drop_last or sum(map(len, batches)) == length


@pytest.mark.parametrize(("workers", "taken"), [(0, 3), (2, 2), (2, 4), pytest.param(1, 2, marks=SLOW)])
@pytest.mark.parametrize("shuffle", [5, pytest.param(0, marks=SLOW)])
def test_an_epoch_goes_on_in_its_middle_and_the_next_is_whole(run_of, workers, shuffle, taken):
    """Of the batches that two workers give, the fourth is the last of one of them."""

    def loader():
        data = LabeledImages(run_of[1].url, rank=1, world=2, shuffle=shuffle, seed=3, batch_size=2)
        data.set_epoch(4)
        return data, StatefulDataLoader(data, batch_size=2, num_workers=workers, collate_fn=places)

    whole = list(loader()[1])
    _, first = loader()
    begun = list(islice(iter(first), taken))
    state = copy.deepcopy(first.state_dict())
    data, resumed = loader()
    resumed.load_state_dict(state)
    assert begun + list(resumed) == whole
    data.set_epoch(4)
    assert list(resumed) == whole


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_resumed_after_the_last_sample_of_an_epoch_a_whole_one_follows(run_of, workers, persistent):
    def loader():
        data = LabeledImages(run_of[1].url, shuffle=5, seed=3)
        return data, StatefulDataLoader(data, batch_size=None, num_workers=workers, collate_fn=place,
                                        persistent_workers=persistent)  # fmt: skip

    data, first = loader()
    data.set_epoch(2)
    assert len(list(first)) == 15
    data, resumed = loader()
    data.set_epoch(3)
    resumed.load_state_dict(first.state_dict())
    found = list(resumed)
    data, fresh = loader()
    data.set_epoch(3)
    assert found == list(fresh)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_brings_its_epoch_unless_one_is_set(run_of, workers, caplog):
    def loader(number=None):
        data = LabeledImages(run_of[1].url, shuffle=5, seed=3)
        if number is not None:
            data.set_epoch(number)
        return StatefulDataLoader(data, batch_size=None, num_workers=workers, collate_fn=place)

    whole, other = list(loader(6)), list(loader(7))
    first = loader(6)
    begun = list(islice(iter(first), 4))
    state = copy.deepcopy(first.state_dict())
    for number, expected in ((None, whole[len(begun) :]), (6, whole[len(begun) :]), (7, other)):
        resumed = loader(number)
        resumed.load_state_dict(state)
        assert list(resumed) == expected
    if not workers:
        assert "epoch 7 begins, as set_epoch says; the rest of epoch 6 is left out" in caplog.text


def test_a_reader_alone_goes_on_too(run_of):
    data = LabeledImages(run_of[1].url, shuffle=5)
    whole = names(data)
    stream = iter(data)
    begun = names(islice(stream, 6))
    data.load_state_dict(data.state_dict())
    assert begun + names(data) == whole
    assert names(data) == whole


def test_a_position_of_other_readers_is_refused(run_of):
    _, output = run_of
    state = LabeledImages(output.url, rank=0, world=2).state_dict()
    for other in (LabeledImages(output.url, rank=0, world=3), LabeledImages(output.url, rank=0, world=2, batch_size=4)):
        with pytest.raises(UsageError, match="ranks or workers"):
            other.load_state_dict(state)
    with pytest.raises(UsageError, match="ranks or workers"):
        other.load_state_dict({})


def test_what_padding_repeats_and_dropping_leaves_out_is_logged(run_of, caplog):
    caplog.set_level(logging.WARNING)
    for steps, length, said in (("pad", 4, "repeats 1 of 15"), ("drop", 3, "leaves out 3 of 15")):
        ranks = [LabeledImages(run_of[1].url, rank=rank, world=4, steps=steps) for rank in range(4)]
        found = [names(rank) for rank in ranks]
        assert [len(rank) for rank in ranks] == [len(part) for part in found] == [length] * 4
        assert sum(Counter(sample for part in found for sample in part).values()) == 4 * length
        assert f"{length} samples for each of 4 ranks; {said}" in caplog.text


def test_persisting_workers_agree_when_the_number_is_set_again_at_once(run_of):
    data = LabeledImages(run_of[1].url, shuffle=5, seed=3)
    loaded = DataLoader(data, batch_size=None, collate_fn=place, num_workers=2, persistent_workers=True)
    list(loaded)
    for number in range(1, 6):
        data.set_epoch(number)
        samples = iter(loaded)
        data.set_epoch(number + 1)
        # Whichever of the two the workers find, it is one for all.
        assert list(samples) in (epoch_of(run_of[1].url, number), epoch_of(run_of[1].url, number + 1))
