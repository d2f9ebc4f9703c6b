"""What a person sees while a job runs: a bar on a terminal, a line now and then in a log. It changes nothing."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.ledger.pace import Pace, duration
from maskmill.pipeline.terminal import escaped

LOG_SECONDS = 30.0
"""Time between lines at first, where output is a file or a pipe."""

LOG_SHARE = 1 / 60
"""Later a line comes when the job has run so much longer: after two hours every two minutes."""

MOST_LOG_SECONDS = 600.0
"""Time between lines at last."""


class LabelProgress:
    """Shards done and failed, images/s and time left of one `label`; the same work for each shard of any number.

    Rate and time left come from what ended in the last minutes (`pipeline.ledger.pace`). Shards that earlier jobs did
    only move the bar.
    """

    def __init__(
        self,
        shards: int,
        *,
        already_done: int,
        clock: Callable[[], float] = time.monotonic,
        console: Console | None = None,
    ) -> None:
        """
        Args:
            shards: shards that this job is to label.
            already_done: shards asked for that earlier jobs did.
            clock: gives seconds that only grow.
            console: where to show it; stderr by default.
        """
        self._clock = clock
        self._console = console = console or Console(stderr=True)
        self._already_done = already_done
        self._phase = ""
        self._shards = self._left = shards
        self._failed: Counter[str] = Counter()
        self._started = self._logged = clock()
        self._pace = Pace(self._started)
        self._lock = threading.Lock()  # the bar is drawn by a thread of its own
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                _Live(self._told),
                console=console,
            )
            self._task = self._bar.add_task("labeling", total=shards + already_done, completed=already_done)

    def __enter__(self) -> "LabelProgress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, row: LedgerRow) -> None:
        """One more shard has ended."""
        now = self._clock()
        with self._lock:
            self._left = max(self._left - 1, 0)
            if row.state == "failed":
                self._failed[row.reason or "internal"] += 1
            self._pace.add(now, row.counts.read)
        if self._bar is not None:
            self._bar.advance(self._task)
        elif now - self._logged >= min(max(LOG_SECONDS, LOG_SHARE * (now - self._started)), MOST_LOG_SECONDS):
            self._logged = now
            self._print(f"{self._phase}{self._shards - self._left:,} of {self._shards:,} shards, {self._told()}")

    def sweep(self, shards: int) -> None:
        """The pass over all shards has ended and left so many that are now tried once more, each alone: those whose
        process died, and those whose failure may pass."""
        with self._lock:
            self._phase = "sweep: "
            self._shards = self._left = shards
            # Shards one at a time, and those that were trouble before: another pace.
            self._pace = Pace(self._clock())
        if self._bar is not None:
            total = self._bar.tasks[0].total or 0.0
            self._bar.update(self._task, description="sweeping", completed=max(total - shards, 0.0))
        else:
            self._print(f"sweep: {shards:,} shards are left, and tried once more, each alone")

    def _told(self) -> str:
        with self._lock:
            now, failed = self._clock(), self._failed.total()
            parts = [f"{failed:,} failed"]
            if failed:
                reason, shards = self._failed.most_common(1)[0]
                parts = [f"{failed:,} failed ({reason} {shards:,}{', others' if shards < failed else ''})"]
            rate, left = self._pace.images_a_second(now), self._pace.seconds_for(self._left, now)
            if rate is None or left is None:
                parts.append("no shard has ended yet")
            else:
                parts += [f"{rate:,.1f} images/s", f"{duration(left)} left"]
        if self._already_done:
            parts.append(f"{self._already_done:,} done before")
        return ", ".join(parts)

    def _print(self, line: str) -> None:
        self._console.print(escaped(line), highlight=False, markup=False, soft_wrap=True)


class _Live(ProgressColumn):
    """Text made anew whenever the bar is drawn: the time left grows also while nothing ends."""

    def __init__(self, text: Callable[[], str]) -> None:
        super().__init__()
        self._text = text

    def render(self, task: Task) -> Text:
        return Text(escaped(f"shards  {self._text()}"))
