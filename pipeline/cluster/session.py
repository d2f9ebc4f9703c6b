"""Joins the Ray cluster of this job, or starts one on this machine; what labels stands beside."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path

import ray
import torch

from maskmill.models.errors import EnvironmentFailure
from maskmill.pipeline.cluster import head
from maskmill.pipeline.config import machine_cpus
from maskmill.pipeline.labeling.placement import Node
from maskmill.pipeline.labeling.scratch import shard_folder
from maskmill.pipeline.labeling.threads import wait_briefly_awake


@contextmanager
def session() -> Iterator[None]:
    """Ray for the length of a `with`: the cluster that RAY_ADDRESS names (`ray job submit` sets it), else a local one.

    Raises:
        EnvironmentFailure: the cluster can't be joined or started.
    """
    _quiet()
    with ExitStack() as opened:
        # Ray puts the driver's current folder first on its workers' import path, where a user's own timm/ or queue.py
        # would be imported in place of the library. So it starts in an empty folder, which lives as long as Ray does.
        empty = opened.enter_context(shard_folder(Path(tempfile.gettempdir())))
        with chdir(empty), _stderr_closed():
            _init()
        opened.callback(ray.shutdown)
        opened.enter_context(head.watched(ray.get_runtime_context().gcs_address))
        yield


def _init() -> None:
    """`ray.init` for this job.

    Raises:
        EnvironmentFailure: the cluster can't be joined or started.
    """
    try:
        if joins():
            ray.init(logging_level=logging.ERROR, log_to_driver=False)
            return
        here = local_node()
        wait_briefly_awake()  # replicas inherit it
        ray.init(
            "local",
            num_cpus=here.cpus,
            num_gpus=here.gpus,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
        )
    except Exception as error:  # Ray raises many kinds here, a bare Exception among them where a process starts late
        if "InvalidAuthToken" in str(error.__cause__):
            raise EnvironmentFailure(
                "the cluster that RAY_ADDRESS names refused our token. Set RAY_AUTH_MODE=token, and have the cluster's "
                "token in ~/.ray/auth_token or RAY_AUTH_TOKEN."
            ) from error
        where = "the cluster that RAY_ADDRESS names can't be joined" if joins() else "Ray can't start"
        raise EnvironmentFailure(f"{where}: {' '.join(str(error).split())[:300]}") from error


def joins() -> bool:
    """Whether `session` joins a cluster that is there already."""
    return bool(os.environ.get("RAY_ADDRESS"))


def local_node() -> Node:
    """What this machine offers to the cluster of one that `session` starts on it."""
    # A replica and the task that feeds it need a CPU each, also on a machine that has but one.
    return Node(cpus=max(2, machine_cpus()), gpus=torch.cuda.device_count())


def _quiet() -> None:
    """Keep what Ray says of its inner life out of ours; its log files hold it all."""
    # Read by Ray's C++ side at `init`.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray.data.DataContext.get_current().enable_progress_bars = False


@contextmanager
def _stderr_closed() -> Iterator[None]:
    """Drop what Ray's C++ side writes to stderr as it starts: that it was told to be quiet. Errors are exceptions."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def nodes() -> list[Node]:
    """The machines of the cluster as they are now."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    found = [Node(cpus=int(node.get("CPU", 0)), gpus=int(node.get("GPU", 0))) for node in alive]
    # A head without CPUs of its own takes no work.
    return [node for node in found if node.cpus]
