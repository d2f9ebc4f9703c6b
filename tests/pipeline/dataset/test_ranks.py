"""The reader in processes that train together, made before they start."""

from collections import Counter

import pytest
import torch.distributed
import torch.multiprocessing
from torch.utils.data import DataLoader

from maskmill.models.errors import UsageError
from maskmill.pipeline.dataset import LabeledImages


def place(sample):
    return sample.shard, sample.sample_index


def _read(rank, world, data, start, store, found):
    before = len(data)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    loader = DataLoader(data, batch_size=None, collate_fn=place, num_workers=2, multiprocessing_context=start)
    data.set_epoch(1)
    found.put((rank, before, len(loader), list(loader)))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_rank_and_world_are_those_of_the_moment_when_an_epoch_begins(run_of, tmp_path, monkeypatch, start):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    context = torch.multiprocessing.get_context(start)
    found = context.SimpleQueue()
    data = LabeledImages(run_of[1].url, shuffle=5)
    processes = [
        context.Process(target=_read, args=(rank, 2, data, start, tmp_path / "store", found)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    seen: Counter[object] = Counter()
    for rank, before, length, samples in sorted(found.get() for _ in processes):
        assert before == 15
        assert len(samples) == length == 7 + rank
        seen.update(samples)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(seen) == seen.total() == 15


def test_the_environment_counts_when_an_epoch_begins(run_of, monkeypatch):
    data = LabeledImages(run_of[1].url)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert len(data) == len(list(data)) == 4
    monkeypatch.setenv("RANK", "0")
    assert len(data) == len(list(data)) == 3
    monkeypatch.delenv("RANK")
    with pytest.raises(UsageError, match="WORLD_SIZE is 4 and RANK isn't set"):
        iter(data)
    assert len(list(LabeledImages(run_of[1].url, rank=0, world=1))) == 15


def test_a_world_without_a_rank_is_refused_where_nothing_else_tells_it(run_of):
    with pytest.raises(UsageError, match="world=2: expected rank= too"):
        list(LabeledImages(run_of[1].url, world=2))


def test_a_place_that_does_not_exist_is_refused(run_of):
    with pytest.raises(UsageError, match="rank 2 of 2"):
        LabeledImages(run_of[1].url, rank=2, world=2)
