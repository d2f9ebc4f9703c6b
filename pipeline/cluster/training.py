"""Trains on Ray Train: one worker a device, each running `pipeline.training.run.train` on its share of every batch."""

import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.training.loop import StepReport
from maskmill.models.training.ranks import Ranks
from maskmill.pipeline.cluster import session
from maskmill.pipeline.output import Output
from maskmill.pipeline.steps import Steps
from maskmill.pipeline.stores import stores
from maskmill.pipeline.stores.publish import publish_bytes
from maskmill.pipeline.stores.stores import Stores
from maskmill.pipeline.training.config import TrainConfig
from maskmill.pipeline.training.output import TrainOutput
from maskmill.pipeline.training.preflight import worker_resources
from maskmill.pipeline.training.run import train
from maskmill.pipeline.truth.pairs import sources_of

WRONG_USAGE = "wrong-usage.txt"
"""Below OUT/ray: what a worker found wrong with the training, told by the driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSpec:
    """What every worker is given."""

    config: TrainConfig
    """The training."""

    output: TrainOutput
    """Its folder, which all workers see."""

    cpus: int
    """CPUs of a worker."""

    gpu: bool
    """Whether a worker has a GPU."""

    stores: Stores
    """How stores are asked."""


def train_on_ray(config: TrainConfig, output: TrainOutput, steps: Steps) -> None:
    """Train with `config.job.workers` workers on the cluster that is there, or on one on this machine.

    Args:
        config: the training, checked by `pipeline.training.preflight`.
        output: its folder.
        steps: says what is being done.

    Raises:
        UsageError: as `pipeline.training.run.train`; or more workers than the cluster has room for.
        EnvironmentFailure: Ray can't start, or workers died more often than `config.job.restarts`.
    """
    with session.session(steps):
        steps(f"loading {config.model}")
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        worker = worker_resources(config, session.nodes())
        spec = TrainSpec(
            config=absolute(config), output=output, cpus=worker.cpus, gpu=worker.gpus > 0, stores=stores.used()
        )
        told = output.folder / "ray" / WRONG_USAGE
        told.unlink(missing_ok=True)
        trainer = TorchTrainer(
            _worker,
            train_loop_config={"spec": spec},
            # Each process's own gloo or NCCL group; gradients are averaged by hand, so that no model is wrapped.
            torch_config=TorchConfig(backend="nccl" if spec.gpu else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=config.job.workers,
                use_gpu=spec.gpu,
                resources_per_worker={"CPU": spec.cpus, **({"GPU": 1} if spec.gpu else {})},
            ),
            run_config=RunConfig(
                # A name of its own: Ray goes on from what it finds under a name, and going on is our checkpoint's part.
                name=f"train-{uuid.uuid4().hex[:8]}",
                storage_path=str(output.folder / "ray"),
                failure_config=FailureConfig(max_failures=config.job.restarts),
            ),
        )
        try:
            trainer.fit()
        except Exception as error:  # Ray wraps what a worker raised in errors of several kinds, by version
            if not told.exists():
                raise _cause(error) from error
        if told.exists():
            raise UsageError(told.read_text(encoding="utf-8"))


def absolute(config: TrainConfig) -> TrainConfig:
    """The same training, its local files named so that a worker finds them, which has a working directory of its own.

    Raises:
        UsageError: shards that aren't there.
    """

    def named(arguments: tuple[str, ...]) -> tuple[str, ...]:
        sources = sources_of(arguments) if arguments else []
        return tuple(str(one.absolute()) if isinstance(one, Path) else one.source for one in sources)

    def file(name: str | None) -> str | None:
        return str(Path(name).absolute()) if name is not None and Path(name).is_file() else name

    data, start = config.data, config.start
    return replace(
        config,
        shards=named(config.shards),
        labels=None if config.labels is None else Output.of(config.labels).url,
        validation=named(config.validation),
        start=replace(start, init=file(start.init)),
        data=replace(data, vocab=file(data.vocab), templates=file(data.templates) or data.templates),
        job=replace(config.job, scratch=config.job.scratch.absolute()),
    )


def _worker(given: dict[str, Any]) -> None:
    """One worker's training; runs in its own process."""
    import ray.train.torch
    import torch
    from torch import distributed

    spec: TrainSpec = given["spec"]
    stores.use(spec.stores)
    context = ray.train.get_context()
    # A worker sees all GPUs of its machine; Ray says which is its own.
    device = ray.train.torch.get_device() if spec.gpu else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.set_num_threads(spec.cpus)

    def all_reduce(tensor: Tensor) -> None:
        distributed.all_reduce(tensor)

    def tell(report: StepReport) -> None:
        ray.train.report({"step": report.step, "total": report.total})

    ranks = Ranks(rank=context.get_world_rank(), size=context.get_world_size(), all_reduce=all_reduce)
    told = spec.output.folder / "ray" / WRONG_USAGE
    if told.exists():
        return  # started again for nothing: wrong usage stays wrong
    try:
        train(spec.config, spec.output, device=device, threads=spec.cpus, ranks=ranks, tell=tell)
    except UsageError as error:
        publish_bytes(str(error).encode(), str(told))
        # It may be this worker's alone (a damaged sample): the others wait for it, and only a failure ends them.
        raise


def _cause(error: BaseException) -> Exception:
    """The user's error where one caused it, else that the training ended early."""
    import ray

    pending, seen = [error], set[int]()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, UsageError | EnvironmentFailure) and not isinstance(one, ray.exceptions.RayError):
            return one
        by_worker = getattr(one, "worker_failures", None)
        others = [getattr(one, "cause", None), one.__cause__]
        others += list(by_worker.values()) if isinstance(by_worker, dict) else []
        pending.extend(other for other in others if isinstance(other, BaseException))
    return EnvironmentFailure(f"the training ended early: {' '.join(str(error).split())[-300:]}")
