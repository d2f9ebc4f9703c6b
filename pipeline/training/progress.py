"""Tells a person how a training goes, by reading its log: the same on one device and on a cluster."""

import json
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from maskmill.pipeline.steps import Steps
from maskmill.pipeline.terminal import print_error

SECONDS = 1.0
"""Between two looks at the log."""


class Following:
    """Prints what is added to a training's log, as lines on stderr, for the length of a `with`.

    Args:
        log: JSON lines, which need not exist yet.
        updates: of the whole training.
        steps: what was said before the first line goes.
    """

    def __init__(self, log: Path, updates: int, steps: Steps) -> None:
        self._log, self._updates, self._steps = log, updates, steps
        self._seen = -1
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)

    def __enter__(self) -> "Following":
        self._look(tell=False)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._look(tell=True)

    def _follow(self) -> None:
        while not self._ended.wait(SECONDS):
            self._look(tell=True)

    def _look(self, *, tell: bool) -> None:
        """Tell of what is new: lines of steps not told before."""
        if not self._log.exists():
            return
        entries = [entry for line in self._log.read_bytes().splitlines() if (entry := _entry(line)) is not None]
        fresh = [(place, entry) for place, entry in enumerate(entries) if place > self._seen]
        # A resumed training cuts its log back: what is left then was told before.
        self._seen = min(self._seen, len(entries) - 1) if not fresh else fresh[-1][0]
        for _, entry in fresh if tell else ():
            self._steps.clear()
            print_error(line_of(entry, self._updates))


def line_of(entry: dict[str, Any], steps: int) -> str:
    """One line of the log for people."""
    if "mean_iou" in entry:
        scores = ", ".join(f"{name} {100 * value:.2f}" for name, value in entry["mean_iou"].items())
        return f"step {entry['step']:,} of {steps:,}  validation mIoU: {scores}"
    return f"step {entry['step']:,} of {steps:,}  loss {entry['total']:.4f}  rate {entry['learning_rate']:.3g}"


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "step" in entry else None
