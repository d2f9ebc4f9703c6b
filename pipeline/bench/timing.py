"""Seconds of repeated work, after a warm-up, and the memory at its peak. What the work is stands elsewhere."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

Work = Callable[[], object]
"""What is timed; its result is thrown away."""

LEAST_SECONDS = 0.2
"""How long a measurement goes on."""

MICROSECOND = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Seconds of one run of some work."""

    median: float
    """The median run."""

    low: float
    """A quarter of the runs took less."""

    high: float
    """A quarter of the runs took more."""

    runs: int
    """How many runs these are of, warm-up not counted. A run of short work is the mean of many calls."""

    peak_bytes: int | None
    """Memory at the peak: what PyTorch held on a GPU; else what this process held. None where nothing tells."""

    @classmethod
    def of(cls, seconds: Sequence[float], peak_bytes: int | None = None) -> "Timing":
        """From the seconds of each run."""
        low, median, high = (float(value) for value in np.quantile(seconds, (0.25, 0.5, 0.75)))
        return cls(median=median, low=low, high=high, runs=len(seconds), peak_bytes=peak_bytes)

    @property
    def spread(self) -> float:
        """Distance between the quartiles over the median."""
        return (self.high - self.low) / self.median


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopwatch:
    """How work is timed in one bench."""

    device: torch.device
    """Where it computes: a GPU is waited for before and after, and its memory is what counts."""

    threads: int
    """Threads of PyTorch; the process is set to them already."""

    repeats: int
    """Runs, at least."""

    least_seconds: float = LEAST_SECONDS
    """A measurement goes on for so long, so that short work is repeated often."""

    def time(self, work: Work) -> Timing:
        """Seconds of work that takes up to some seconds, by torch.utils.benchmark, which waits for a GPU."""
        # It sets the threads it is told, calls short work many times a run, and collects no garbage meanwhile.
        timer = _timer_class()(stmt="work()", globals={"work": work}, num_threads=self.threads)
        warm = timer.blocked_autorange(min_run_time=self.least_seconds / 4)
        peak = Peak(self.device)
        if warm.median > self.least_seconds:
            # The timer would try out again how many calls are a run: for work that takes seconds that is one too many.
            return Timing.of([self._wait(work) for _ in range(self.repeats)], peak.bytes())
        seconds: list[float] = []
        while len(seconds) < self.repeats:
            left = self.repeats - len(seconds)
            seconds += timer.blocked_autorange(min_run_time=max(self.least_seconds, left * warm.median)).times
        return Timing.of(seconds, peak.bytes())

    def time_long(self, work: Work) -> Timing:
        """Seconds of work that takes long, such as a shard: run once to warm up, then `repeats` times and no more."""
        self._wait(work)
        peak = Peak(self.device)
        return Timing.of([self._wait(work) for _ in range(self.repeats)], peak.bytes())

    def _wait(self, work: Work) -> float:
        started = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return max(MICROSECOND, time.perf_counter() - started)


class Peak:
    """Memory at its peak since this was made.

    Args:
        device: a GPU, whose allocator tells; else the process's resident memory, as Linux tells it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._told = True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            self._told = _forget_resident_peak()

    def bytes(self) -> int | None:
        """The peak so far; None where this system doesn't tell."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        return resident_peak() if self._told else None


def resident_peak() -> int | None:
    """The process's largest resident memory in bytes (VmHWM of proc(5)); None where the system doesn't tell."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def _forget_resident_peak() -> bool:
    """Let the process's peak begin anew (clear_refs of proc(5)); whether the system lets it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return True
    return False


def _timer_class() -> Any:
    """torch.utils.benchmark.Timer, imported without its remark that there is no compiler for CUDA."""
    remarks = logging.getLogger("torch.utils.cpp_extension")
    before, remarks.level = remarks.level, logging.ERROR
    try:
        from torch.utils.benchmark import Timer
    finally:
        remarks.level = before
    return Timer
