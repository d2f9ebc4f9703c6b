"""Joins the Ray cluster of this job, or starts one on this machine; what labels stands beside."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path

import ray

from maskmill.models.errors import EnvironmentFailure, Terminated
from maskmill.models.scratch import scratch_folder
from maskmill.pipeline.cluster import head, leftovers
from maskmill.pipeline.cluster.leftovers import ended_with_driver
from maskmill.pipeline.cluster.starting import start_patiently
from maskmill.pipeline.labeling.placement import Node, joins, local_node
from maskmill.pipeline.labeling.threads import wait_briefly_awake
from maskmill.pipeline.steps import Steps


@contextmanager
def session(steps: Steps | None = None) -> Iterator[None]:
    """Ray for the length of a `with`: the cluster that RAY_ADDRESS names (`ray job submit` sets it), else a local one.

    Args:
        steps: hears of another try where the first start was too slow.

    Raises:
        EnvironmentFailure: the cluster can't be joined or started.
    """
    _quiet()
    with ExitStack() as opened:
        # Ray puts the driver's current folder first on its workers' import path, where a user's own timm/ or queue.py
        # would be imported in place of the library. So it starts in an empty folder, which lives as long as Ray does.
        empty = opened.enter_context(scratch_folder()).resolve()
        if not joins():
            opened.enter_context(ended_with_driver(empty))
        with chdir(empty), _own_sigterm():
            _init(empty, steps)
        opened.callback(ray.shutdown)
        opened.enter_context(head.watched(ray.get_runtime_context().gcs_address))
        yield


def _init(folder: Path, steps: Steps | None) -> None:
    """`ray.init` for this job.

    Args:
        folder: the working directory, and of a local cluster all its processes' (`leftovers`).
        steps: hears of another try.

    Raises:
        EnvironmentFailure: the cluster can't be joined or started.
    """
    try:
        if joins():
            with _stderr_closed():
                ray.init(logging_level=logging.ERROR, log_to_driver=False)
            return

        def again() -> None:
            ray.shutdown()
            leftovers.end(folder)
            if steps is not None:
                steps("starting Ray again, as it was not up in time")

        start_patiently(_init_local, again=again)
    except EnvironmentFailure:
        raise
    except Exception as error:  # Ray raises many kinds here, a bare Exception among them where a process starts late
        if "InvalidAuthToken" in str(error.__cause__):
            raise EnvironmentFailure(
                "the cluster that RAY_ADDRESS names refused our token. Set RAY_AUTH_MODE=token, and have the cluster's "
                "token in ~/.ray/auth_token or RAY_AUTH_TOKEN."
            ) from error
        where = "the cluster that RAY_ADDRESS names can't be joined" if joins() else "Ray can't start"
        raise EnvironmentFailure(f"{where}: {' '.join(str(error).split())[:300]}") from error


def _init_local() -> None:
    here = local_node()
    wait_briefly_awake()  # replicas inherit it
    with _stderr_closed():
        ray.init(
            "local",
            num_cpus=here.cpus,
            num_gpus=here.gpus,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
        )


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what this process does on SIGTERM: Ray puts handlers of its own in place, Python's and then one that prints
    a native stack. While Ray starts, its own ends the process; that becomes what ours means.
    """
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        raise Terminated from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ours)


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
