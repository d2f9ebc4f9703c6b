"""How replicas fit on a cluster: how many, with how many CPUs and GPUs each. Only arithmetic; Ray does the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.errors import EnvironmentFailure, UsageError
from pipeline.config import ReplicaConfig

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


def place(nodes: Sequence[Node], replica: ReplicaConfig, *, device: str) -> Placement:
    """Fit replicas on nodes.

    Args:
        nodes: the cluster's machines.
        replica: what the user asked for.
        device: auto, cpu or cuda.

    Raises:
        UsageError: a GPU was asked for and there is none; or replicas would take every CPU, so that the tasks that feed
            them could never start (a CPU must stay free for them), or don't fit on the machines.
        EnvironmentFailure: the cluster has no CPUs.
    """
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    if cpus == 0:
        raise EnvironmentFailure("the cluster has no machine with CPUs to label on. Start one, or wait until it is up.")
    if device == "cuda" and gpus == 0:
        raise UsageError("--device cuda: this cluster has no GPU. Use --device cpu, or run where there is one.")
    on_gpu = device != "cpu" and gpus > 0
    least, most = replica.bounds() or ((gpus, gpus) if on_gpu else (1, 1))
    if on_gpu and least > gpus:
        raise UsageError(f"--replicas {replica.replicas}: the cluster has {gpus} GPUs, and each replica takes one.")
    if replica.cpus_per_replica is not None:
        each = replica.cpus_per_replica
    elif on_gpu:
        each = max(1, min((node.cpus - 1) // node.gpus for node in nodes if node.gpus))
    else:
        # The most with which all replicas fit and one CPU stays free; where nothing fits, what is refused below.
        largest = max(node.cpus for node in nodes)
        each = next((n for n in range(largest - 1, 0, -1) if most <= _fitting(nodes, n) and most * n < cpus), 1)
    fitting = _fitting(nodes, each, on_gpu=on_gpu)
    if least * each >= cpus or least > fitting:
        asked = f"--replicas {least} --cpus-per-replica {each}"
        raise UsageError(
            f"{asked}: takes {least * each} of {cpus} CPUs (largest machine: {max(node.cpus for node in nodes)}; "
            f"{fitting} such replicas fit), and one must stay free to feed the replicas. "
            "Ask for fewer replicas or fewer CPUs for each."
        )
    batch_size = replica.batch_size or (GPU_BATCH if on_gpu else CPU_BATCH)
    return Placement(least=least, most=most, cpus=each, gpus=int(on_gpu), batch_size=batch_size)


def _fitting(nodes: Sequence[Node], each: int, *, on_gpu: bool = False) -> int:
    """How many replicas of so many CPUs (and of one GPU) the machines hold; one never spans two."""
    return sum(min(node.cpus // each, node.gpus) if on_gpu else node.cpus // each for node in nodes)
