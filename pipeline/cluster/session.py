"""Joins the Ray cluster of this job, or starts one on this machine; what labels stands beside."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from models.errors import EnvironmentFailure
from pipeline.config import machine_cpus
from pipeline.placement import Node


@contextmanager
def session() -> Iterator[None]:
    """Ray for the length of a `with`: the cluster that RAY_ADDRESS names (`ray job submit` sets it), else a local one.

    Raises:
        EnvironmentFailure: the cluster can't be joined or started.
    """
    # Ray Data would draw bars of its own over ours, and tell of each operator.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        if os.environ.get("RAY_ADDRESS"):
            ray.init(logging_level=logging.ERROR, log_to_driver=False)
        else:
            # A replica and the task that feeds it need a CPU each, also on a machine that has but one.
            ray.init(
                num_cpus=max(2, machine_cpus()),
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
                _node_ip_address="127.0.0.1",
            )
    except (ConnectionError, RuntimeError, OSError) as error:
        where = (
            "the cluster that RAY_ADDRESS names can't be joined" if os.environ.get("RAY_ADDRESS") else "Ray can't start"
        )
        raise EnvironmentFailure(f"{where}: {' '.join(str(error).split())[:300]}") from error
    try:
        yield
    finally:
        ray.shutdown()


def nodes() -> list[Node]:
    """The machines of the cluster as they are now."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    found = [Node(cpus=int(node.get("CPU", 0)), gpus=int(node.get("GPU", 0))) for node in alive]
    # A head without CPUs of its own takes no work.
    return [node for node in found if node.cpus]
