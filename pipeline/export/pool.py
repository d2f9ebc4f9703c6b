"""Calls a function for many shards, in several processes, and gives the results in order. It knows nothing of shards.

A shard's work holds Python's lock for most of its time, so that threads would take turns.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

from maskmill.pipeline.processes import process_pool, result_of

Task = TypeVar("Task")
Result = TypeVar("Result")
Setup = TypeVar("Setup")

AHEAD = 2
"""Tasks a process that are begun or wait, so that none idles and few results wait for their turn."""


def in_order(
    make: Callable[[Setup], Callable[[Task], Result]], setup: Setup, tasks: Iterable[Task], processes: int
) -> Generator[tuple[Task, Result], None, None]:
    """Each task with its result, in the order of the tasks; they are taken as needed.

    Args:
        make: makes the function, once in each process; a name of a module.
        setup: what it is given; picklable, as tasks and results.
        tasks: one after the other.
        processes: 1: all is done in this one.

    Raises:
        EnvironmentFailure: a process was killed.
        Exception: what the function raised.
    """
    if processes == 1:
        function = make(setup)
        yield from ((task, function(task)) for task in tasks)
        return
    waiting: deque[tuple[Task, Future[Result]]] = deque()
    pool = process_pool(processes, _begin, make, setup)
    try:
        for task in tasks:
            waiting.append((task, pool.submit(_call, task)))
            if len(waiting) >= AHEAD * processes:
                yield _result(waiting)
        while waiting:
            yield _result(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _result(waiting: deque[tuple[Task, Future[Result]]]) -> tuple[Task, Result]:
    task, future = waiting.popleft()
    return task, result_of(future, "Export with fewer --workers.")


_function: list[Callable[..., Any]] = []
"""The function of this process, once it began."""


def _begin(make: Callable[[Setup], Callable[[Task], Result]], setup: Setup) -> None:
    _function[:] = [make(setup)]


def _call(task: Any) -> Any:
    return _function[0](task)
