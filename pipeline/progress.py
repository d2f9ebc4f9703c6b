"""What a person sees while a job runs: a bar on a terminal, a line now and then in a log. It changes nothing."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.ledger import LedgerRow

LOG_SECONDS = 30.0
"""Time between lines where output is a file or a pipe."""


class LabelProgress:
    """Shards done and failed, images/s and time left of one `label`."""

    def __init__(self, shards: int, *, already_done: int) -> None:
        self._shards = shards
        self._ended = 0
        self._failed = 0
        self._images = 0
        self._started = self._logged = time.monotonic()
        self._console = console = Console(stderr=True)
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("labeling"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("shards  {task.fields[detail]}"),
                TimeRemainingColumn(),
                console=console,
            )
            # Rates and time left come from what this job does, so what was done before only moves the bar.
            self._task = self._bar.add_task("", total=shards + already_done, completed=already_done, detail="starting")

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
        self._ended += 1
        self._failed += row.state == "failed"
        self._images += row.counts.read
        if self._bar is not None:
            self._bar.update(self._task, advance=1, detail=self._detail())
        elif time.monotonic() - self._logged >= LOG_SECONDS:
            self._logged = time.monotonic()
            left = (self._logged - self._started) / self._ended * (self._shards - self._ended)
            self._console.print(
                f"{self._ended} of {self._shards} shards, {self._detail()}, {left / 60:.0f} min left",
                highlight=False,
                soft_wrap=True,
            )

    def _detail(self) -> str:
        rate = self._images / max(time.monotonic() - self._started, 1e-9)
        return f"{self._failed} failed  {rate:,.1f} images/s"
