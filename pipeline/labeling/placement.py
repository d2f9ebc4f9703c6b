"""How replicas fit on a cluster: how many, with how many CPUs and GPUs each. Only arithmetic; Ray does the rest."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline.config import ReplicaConfig, machine_cpus

CPU_BATCH = 8
"""Images in a full batch where there is no GPU."""

GPU_BATCH = 32
"""Images in a full batch on a GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """What one machine of the cluster offers."""

    cpus: int
    """CPUs that Ray may hand out."""

    gpus: int
    """GPUs that Ray may hand out."""


def joins() -> bool:
    """Whether a job joins the cluster that RAY_ADDRESS names (`ray job submit` sets it), and starts none."""
    return bool(os.environ.get("RAY_ADDRESS"))


def local_node() -> Node:
    """What this machine offers to a cluster of one. Imports torch, which counts its GPUs."""
    import torch

    # A replica and the task that feeds it need a CPU each, also on a machine that has but one.
    return Node(cpus=max(2, machine_cpus()), gpus=torch.cuda.device_count())


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """What Ray is asked for."""

    least: int
    """Replicas to begin with."""

    most: int
    """Replicas Ray may scale up to."""

    cpus: int
    """CPUs each replica declares, and threads it uses."""

    gpus: int
    """GPUs each replica declares: 1, or 0 where replicas compute on CPUs."""

    batch_size: int
    """Images in a full batch."""

    @property
    def device(self) -> str:
        """cuda or cpu."""
        return "cuda" if self.gpus else "cpu"


def place(nodes: Sequence[Node], replica: ReplicaConfig, *, device: str, may_grow: bool = False) -> Placement:
    """Fit replicas on nodes.

    A cluster that may grow is asked for MAX whatever is there now, and for MIN too if `--device`, `--replicas` and
    `--cpus-per-replica` all say what is wanted: nothing is left to be read off machines that aren't there yet, and Ray
    waits for them. No cluster says by itself whether it will grow, nor to what.

    Args:
        nodes: the cluster's machines as they are now.
        replica: what the user asked for.
        device: auto, cpu or cuda.
        may_grow: whether machines may join: a cluster that was joined, not one that was started on this machine.

    Raises:
        UsageError: a GPU was asked for and there is none; or replicas would take every CPU, so that the tasks that feed
            them could never start (a CPU must stay free for them), or don't fit on the machines.
        EnvironmentFailure: the cluster has no CPUs.
    """
    bounds, each = replica.bounds(), replica.cpus_per_replica
    if may_grow and bounds is not None and each is not None and device != "auto":
        return _placement(bounds, each, replica, on_gpu=device == "cuda")
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    if cpus == 0:
        raise EnvironmentFailure("the cluster has no machine with CPUs to label on. Start one, or wait until it is up.")
    if device == "cuda" and gpus == 0:
        raise UsageError(f"--device cuda: this cluster has no GPU. {_GROW if may_grow else _ELSEWHERE}")
    on_gpu = device != "cpu" and gpus > 0
    least, most = bounds or ((gpus, gpus) if on_gpu else (1, 1))
    wanted = least if may_grow else most
    if on_gpu and wanted > gpus:
        raise UsageError(f"--replicas {replica.replicas}: the cluster has {gpus} GPUs, and each replica takes one.")
    if each is None and on_gpu:
        each = max(1, min((node.cpus - 1) // node.gpus for node in nodes if node.gpus))
    elif each is None:
        # The most with which all replicas fit and one CPU stays free; where nothing fits, what is refused below.
        largest = max(node.cpus for node in nodes)
        each = next((n for n in range(largest - 1, 0, -1) if most <= _fitting(nodes, n) and most * n < cpus), 1)
    fitting = _fitting(nodes, each, on_gpu=on_gpu)
    if wanted * each >= cpus or wanted > fitting:
        asked = f"--replicas {replica.replicas or wanted} --cpus-per-replica {each}"
        raise UsageError(
            f"{asked}: takes {wanted * each} of {cpus} CPUs (largest machine: {max(node.cpus for node in nodes)}; "
            f"{fitting} such replicas fit), and one must stay free to feed the replicas. "
            "Ask for fewer replicas or fewer CPUs for each."
        )
    return _placement((least, most), each, replica, on_gpu=on_gpu)


_ELSEWHERE = "Use --device cpu, or run where there is one."
_GROW = "If machines with GPUs will join it, say what to ask them for: --replicas MIN:MAX and --cpus-per-replica N."


def _placement(bounds: tuple[int, int], each: int, replica: ReplicaConfig, *, on_gpu: bool) -> Placement:
    batch_size = replica.batch_size or (GPU_BATCH if on_gpu else CPU_BATCH)
    return Placement(least=bounds[0], most=bounds[1], cpus=each, gpus=int(on_gpu), batch_size=batch_size)


def _fitting(nodes: Sequence[Node], each: int, *, on_gpu: bool = False) -> int:
    """How many replicas of so many CPUs (and of one GPU) the machines hold; one never spans two."""
    return sum(min(node.cpus // each, node.gpus) if on_gpu else node.cpus // each for node in nodes)
