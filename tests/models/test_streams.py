"""Streams beside a device's main one. On a CPU they are nothing, which is what can be tested without a GPU."""

import pytest
import torch

from maskmill.models.streams import Beside, Handover

CPU = torch.device("cpu")


def test_on_a_cpu_what_is_handed_over_is_there():
    values, more = torch.arange(3), torch.ones(2)
    handover = Handover.of(values, more)
    assert handover.ready is None
    assert handover.take() == (values, more)


@pytest.mark.parametrize("urgent", [False, True])
def test_on_a_cpu_work_runs_where_it_always_does(urgent):
    with Beside(CPU, urgent=urgent)():
        assert torch.ones(2).sum() == 2


@pytest.mark.gpu
def test_what_one_stream_copies_another_computes_with_while_the_host_waits_for_neither():
    device = torch.device("cuda")
    copying, computing = Beside(device), Beside(device, urgent=True)
    sources = [torch.full((1 << 24,), number, dtype=torch.uint8).pin_memory() for number in range(1, 9)]
    found = []
    for source in sources:
        with copying():
            arriving = Handover.of(source.to(device, non_blocking=True))
        (there,) = arriving.take()
        sums = Handover.of((there.float() * 2).sum())
        del there, arriving
        with computing():
            (total,) = sums.take()
            found.append(total / 2)
    torch.cuda.synchronize()
    assert [float(one) for one in found] == [float(number << 24) for number in range(1, 9)]
