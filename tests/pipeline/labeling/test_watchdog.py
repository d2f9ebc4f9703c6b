"""The watchdog: silence ends a process that has shards in flight, and nothing else does. No test sleeps."""

import signal
import subprocess
import sys
import threading

import pytest

from maskmill.pipeline.labeling.watchdog import EXIT_CODE, InFlight, Watchdog, bounded
from maskmill.pipeline.shards.shard import Shard

A, B = (Shard(url=f"/{name}.tar", source=f"/{name}.tar") for name in "ab")


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def heard():
    return []


@pytest.fixture
def dog(clock, heard):
    return Watchdog(60.0, lambda shards, seconds: heard.append((shards, seconds)), clock)


def test_silence_with_shards_in_flight_is_told_once_with_all_of_them(dog, clock, heard):
    with dog.watching(A), dog.watching(B, attempt=3):
        clock.now += 59
        dog.look()
        assert heard == []
        clock.now += 2
        dog.look()
        dog.look()
    assert heard == [([InFlight(shard=A, attempt=None), InFlight(shard=B, attempt=3)], 61.0)]


def test_progress_of_any_shard_keeps_all_alive(dog, clock, heard):
    with dog.watching(A), dog.watching(B):
        for _ in range(10):
            clock.now += 50
            dog.feed()
            dog.look()
    assert heard == []


def test_a_replica_without_shards_may_be_silent_for_ever(dog, clock, heard):
    """Loading the weights, or waiting for work, is no stall; nor is what came before the first shard part of one."""
    clock.now += 10_000
    dog.look()
    with dog.watching(A):
        dog.look()
        clock.now += 59
        dog.look()
    clock.now += 10_000
    dog.look()
    assert heard == []


def test_one_that_ended_well_leaves_the_other_watched(dog, clock, heard):
    with dog.watching(A):
        with dog.watching(B):
            clock.now += 30
        clock.now += 60
        dog.look()
    assert [[entry.shard for entry in shards] for shards, _ in heard] == [[A]]


def test_a_shard_in_flight_twice_is_forgotten_once(dog, clock, heard):
    with dog.watching(A):
        with dog.watching(A):
            pass
        clock.now += 60
        dog.look()
    assert len(heard[0][0]) == 1


def test_last_words_are_bounded_in_time_and_their_errors_are_logged(caplog):
    never = threading.Event()
    assert not bounded(lambda: never.wait() and None, 0.01)
    never.set()

    def fails() -> None:
        raise OSError("the store is gone")

    assert bounded(fails)
    assert "the store is gone" in caplog.text


PROGRAM = """
import threading
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.labeling.watchdog import Watchdog, end_process
def stalled(shards, seconds):
    print(*(entry.shard.url for entry in shards), flush=True)
    end_process("stalled")
dog = Watchdog(0.05, stalled)
dog.start()
def hangs_here():
    {hang}
with dog.watching(Shard(url="/a.tar", source="/a.tar")):
    hangs_here()
"""


def run(hang: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(hang=hang)], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_process_that_hangs_ends_itself_and_says_where_it_hung():
    ended = run("threading.Event().wait()")
    assert (ended.returncode, ended.stdout) == (EXIT_CODE, "/a.tar\n")
    assert "hangs_here" in ended.stderr


def test_a_process_whose_interpreter_is_held_ends_too():
    """A C function that hangs with the interpreter's lock leaves no thread that could say anything."""
    ended = run("import ctypes; ctypes.PyDLL(None).pause()")
    assert ended.returncode not in (0, -signal.SIGKILL)
    assert "hangs_here" in ended.stderr
