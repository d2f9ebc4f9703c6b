"""Pools of worker processes that end with the process that made them, and that leave Ctrl-C to it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from maskmill.models.errors import EnvironmentFailure

_Result = TypeVar("_Result")


def process_pool(workers: int, begin: Callable[..., Any] | None = None, *arguments: Any) -> ProcessPoolExecutor:
    """Fresh processes, already starting: forks of a process that has threads, as PyTorch's and a store's, may hang.

    They end when this one does, however it ends. Ctrl-C, and the end of a terminal, reach all its processes: these take
    no notice.

    Args:
        workers: how many.
        begin: called once in each; a name of a module.
        arguments: what it is given; picklable.
    """
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(begin, arguments)
    )
    # All are started by the first task. They inherit the mask, and start up for seconds before any code of ours runs.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        pool.submit(os.getpid)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pool


def result_of(future: "Future[_Result]", fix: str) -> _Result:
    """What a task gave.

    Args:
        future: the task's.
        fix: what to do where its process was killed, a sentence.

    Raises:
        EnvironmentFailure: a process was killed.
        Exception: what the task raised.
    """
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise EnvironmentFailure(f"a worker process was killed, most often for want of memory. {fix}") from error


def _begin(begin: Callable[..., Any] | None, arguments: tuple[Any, ...]) -> None:
    # A worker holds both ends of the pipe that its tasks come through, and would wait for ever after a SIGKILL.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if begin is not None:
        begin(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "called in a worker"
    parent.join()
    os._exit(1)
