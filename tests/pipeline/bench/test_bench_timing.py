"""Runs, quartiles and memory of timed work. No test asserts a time."""

import numpy as np
import pytest
import torch

from maskmill.pipeline.bench.timing import Peak, Stopwatch, Timing, resident_peak

CPU = torch.device("cpu")
WATCH = Stopwatch(device=CPU, threads=1, repeats=3, least_seconds=0.01)


def test_a_timing_is_median_and_quartiles() -> None:
    found = Timing.of([5.0, 1.0, 2.0, 3.0, 4.0])
    assert (found.low, found.median, found.high, found.runs) == (2.0, 3.0, 4.0, 5)
    assert found.spread == pytest.approx(2 / 3)


def test_short_work_is_called_often_and_runs_at_least_as_often_as_asked() -> None:
    calls = []
    found = WATCH.time(lambda: calls.append(None))
    assert found.runs >= 3
    assert len(calls) > found.runs
    assert 0 < found.low <= found.median <= found.high


@pytest.mark.parametrize("repeats", [3, 5])
def test_long_work_warms_up_once_and_runs_as_often_as_asked(repeats: int) -> None:
    calls = []
    watch = Stopwatch(device=CPU, threads=1, repeats=repeats)
    assert watch.time_long(lambda: calls.append(None)).runs == repeats
    assert len(calls) == repeats + 1


def test_work_that_outlasts_a_measurement_is_not_repeated_more_than_asked() -> None:
    calls = []
    watch = Stopwatch(device=CPU, threads=1, repeats=4, least_seconds=1e-9)
    assert watch.time(lambda: calls.append(np.ones(100_000).sum())).runs == 4


def test_an_error_of_the_work_comes_out() -> None:
    def fails() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        WATCH.time(fails)


def test_the_peak_is_that_since_it_was_made() -> None:
    before = Peak(CPU).bytes()
    if before is None:
        pytest.skip("this system doesn't tell a process's peak memory")
    peak = Peak(CPU)
    large = np.ones(64 << 20, np.uint8)
    held = peak.bytes()
    assert held is not None
    assert held - before > 48 << 20
    del large
    after = Peak(CPU).bytes()
    assert after is not None
    assert after < held
    assert resident_peak() is not None


@pytest.mark.gpu
def test_on_a_gpu_memory_is_the_allocators() -> None:
    device = torch.device("cuda")
    watch = Stopwatch(device=device, threads=1, repeats=3)
    found = watch.time(lambda: torch.ones(1 << 24, device=device).sum())
    assert found.peak_bytes is not None
    assert found.peak_bytes >= 4 << 24
