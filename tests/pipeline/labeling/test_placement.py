"""How replicas fit on machines, and which requests are refused before they would hang a job."""

import pytest

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline.config import ReplicaConfig
from maskmill.pipeline.labeling.placement import Node, place


def nodes(*machines: tuple[int, int]) -> list[Node]:
    return [Node(cpus=cpus, gpus=gpus) for cpus, gpus in machines]


@pytest.mark.parametrize(
    ("machines", "asked", "device", "expected"),
    [
        # machines (CPUs, GPUs); asked; device; least, most, CPUs each, GPUs each, batch
        ([(2, 0)], {}, "auto", (1, 1, 1, 0, 8)),
        ([(16, 0)], {}, "auto", (1, 1, 15, 0, 8)),
        ([(16, 0)], {"replicas": "3"}, "auto", (3, 3, 5, 0, 8)),
        ([(16, 0)], {"replicas": "1:3"}, "auto", (1, 3, 5, 0, 8)),
        ([(16, 0)], {"replicas": "2", "cpus_per_replica": 4}, "cpu", (2, 2, 4, 0, 8)),
        ([(8, 0), (8, 0)], {}, "auto", (1, 1, 7, 0, 8)),
        ([(8, 0), (8, 0)], {"replicas": "3"}, "auto", (3, 3, 4, 0, 8)),
        ([(16, 1)], {}, "auto", (1, 1, 15, 1, 32)),
        ([(16, 1)], {}, "cpu", (1, 1, 15, 0, 8)),
        ([(96, 8)], {}, "cuda", (8, 8, 11, 1, 32)),
        ([(96, 8), (48, 8)], {}, "auto", (16, 16, 5, 1, 32)),
        ([(16, 0), (16, 2)], {}, "auto", (2, 2, 7, 1, 32)),
        ([(32, 4)], {"replicas": "2"}, "auto", (2, 2, 7, 1, 32)),
        ([(32, 4)], {"replicas": "1:4", "batch_size": 3}, "auto", (1, 4, 7, 1, 3)),
    ],
)
def test_replicas_take_what_the_machines_have_and_leave_a_cpu_to_feed_them(machines, asked, device, expected):
    placed = place(nodes(*machines), ReplicaConfig(**asked), device=device)
    assert (placed.least, placed.most, placed.cpus, placed.gpus, placed.batch_size) == expected
    assert placed.device == ("cuda" if placed.gpus else "cpu")
    assert placed.least * placed.cpus < sum(cpus for cpus, _ in machines)


@pytest.mark.parametrize(
    ("machines", "asked", "device", "named"),
    [
        ([(4, 0)], {}, "cuda", "--device cuda"),
        ([(4, 0)], {"cpus_per_replica": 4}, "auto", "takes 4 of 4 CPUs"),
        ([(4, 0)], {"cpus_per_replica": 64}, "auto", "--cpus-per-replica 64"),
        ([(4, 0)], {"replicas": "2", "cpus_per_replica": 2}, "auto", "takes 4 of 4 CPUs"),
        ([(4, 0)], {"replicas": "4"}, "auto", "--replicas 4"),
        ([(1, 0)], {}, "auto", "takes 1 of 1 CPUs"),
        ([(4, 0), (4, 0)], {"cpus_per_replica": 5}, "auto", "largest machine: 4"),
        # 9 CPUs, but a replica of 2 never spans two machines of 3
        ([(3, 0), (3, 0), (3, 0)], {"replicas": "4", "cpus_per_replica": 2}, "auto", "3 such replicas fit"),
        ([(16, 2)], {"replicas": "3"}, "auto", "2 GPUs"),
        # a machine that stands alone never gets there
        ([(16, 2)], {"replicas": "1:3"}, "auto", "--replicas 1:3"),
        ([(8, 0)], {"replicas": "1:16"}, "auto", "--replicas 1:16"),
        ([(16, 2)], {"cpus_per_replica": 8}, "auto", "takes 16 of 16 CPUs"),
        # the GPUs stand where only one such replica has CPUs
        ([(64, 0), (8, 2)], {"cpus_per_replica": 5}, "auto", "1 such replicas fit"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_in_one_line(machines, asked, device, named):
    with pytest.raises(UsageError) as refused:
        place(nodes(*machines), ReplicaConfig(**asked), device=device)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_cluster_without_machines_is_an_error_of_the_environment():
    with pytest.raises(EnvironmentFailure, match="no machine"):
        place([], ReplicaConfig(), device="auto")


@pytest.mark.parametrize(
    ("machines", "asked", "device", "expected"),
    [
        # MAX may come later; MIN and the CPUs of each replica are read off what is there
        ([(32, 4)], {"replicas": "1:16"}, "auto", (1, 16, 7, 1)),
        ([(0, 0), (16, 1)], {"replicas": "1:16"}, "cuda", (1, 16, 15, 1)),
        ([(8, 0)], {"replicas": "2:16", "cpus_per_replica": 3}, "auto", (2, 16, 3, 0)),
        # all is said: nothing need be there yet, as where GPU machines wait at zero
        ([], {"replicas": "1:16", "cpus_per_replica": 7}, "cuda", (1, 16, 7, 1)),
        ([(4, 0)], {"replicas": "8", "cpus_per_replica": 7}, "cuda", (8, 8, 7, 1)),
        ([(4, 0)], {"replicas": "8", "cpus_per_replica": 7}, "cpu", (8, 8, 7, 0)),
    ],
)
def test_a_cluster_that_may_grow_is_asked_for_more_than_is_there(machines, asked, device, expected):
    placed = place(nodes(*machines), ReplicaConfig(**asked), device=device, may_grow=True)
    assert (placed.least, placed.most, placed.cpus, placed.gpus) == expected


@pytest.mark.parametrize(
    ("machines", "asked", "device", "named"),
    [
        ([(4, 0)], {}, "cuda", "--replicas MIN:MAX and --cpus-per-replica N"),
        ([(4, 0)], {"replicas": "1:8"}, "cuda", "--replicas MIN:MAX and --cpus-per-replica N"),
        ([(16, 2)], {"replicas": "3:8"}, "cuda", "2 GPUs"),
        ([(4, 0)], {"replicas": "4", "cpus_per_replica": 1}, "auto", "takes 4 of 4 CPUs"),
    ],
)
def test_a_cluster_that_may_grow_is_not_asked_for_what_nobody_stated(machines, asked, device, named):
    with pytest.raises(UsageError) as refused:
        place(nodes(*machines), ReplicaConfig(**asked), device=device, may_grow=True)
    assert named in str(refused.value)
