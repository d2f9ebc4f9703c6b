"""Processes that answer in order; one that is killed is told as such."""

import os
import signal

import pytest

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline.export.pool import in_order


def adder(setup):
    def add(task):
        if task == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "wrong":
            raise UsageError("wrong: one line.")
        return setup + task

    return add


@pytest.mark.parametrize("processes", [1, 3])
def test_results_come_in_the_order_of_tasks(processes):
    assert list(in_order(adder, 100, iter(range(20)), processes)) == [(task, 100 + task) for task in range(20)]


@pytest.mark.parametrize("processes", [1, 2])
def test_what_a_user_caused_is_told_as_it_was(processes):
    with pytest.raises(UsageError, match="wrong: one line"):
        list(in_order(adder, 1, ["wrong"], processes))


def test_a_killed_process_is_told():
    with pytest.raises(EnvironmentFailure, match="was killed"):
        list(in_order(adder, 1, ["kill"], 2))


def test_tasks_are_taken_as_needed():
    taken = []

    def tasks():
        for task in range(1000):
            taken.append(task)
            yield task

    results = in_order(adder, 0, tasks(), 2)
    next(results)
    results.close()
    assert len(taken) <= 5
