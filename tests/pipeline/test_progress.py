"""What is shown while a job runs goes to stderr, a line now and then where it is no terminal, and counts right."""

import io
from dataclasses import dataclass

import pytest
from rich.console import Console

from maskmill.pipeline.ledger.counts import Counts
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.progress import LabelProgress

DONE = LedgerRow(url="a", state="done", counts=Counts(read=30, labeled=30))
FAILED = LedgerRow(url="b", state="failed", error="not_tar: no archive")
CUT = LedgerRow(url="c", state="failed", error="truncated: [red]half[/red] of it")


@dataclass
class Clock:
    """A clock that a test sets."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Shown:
    """A progress over a text that stands for a log, or for a terminal."""

    def __init__(self, shards: int, *, already_done: int = 0, terminal: bool = False) -> None:
        self.clock = Clock()
        self.text = io.StringIO()
        console = Console(file=self.text, force_terminal=terminal, width=160, _environ={})
        self.progress = LabelProgress(shards, already_done=already_done, clock=self.clock, console=console)

    def add(self, row: LedgerRow, *, after: float) -> None:
        self.clock.now += after
        self.progress.add(row)

    @property
    def lines(self) -> list[str]:
        return self.text.getvalue().splitlines()


def rate(line: str) -> float:
    """Images a second that a line tells."""
    return float(line.partition(" images/s")[0].rpartition(", ")[2])


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_a_log_has_a_line_for_what_ended_and_what_is_left():
    shown = Shown(4, already_done=2)
    shown.add(DONE, after=30)
    shown.add(FAILED, after=30)
    first, second = shown.lines
    assert first == "1 of 4 shards, 0 failed, 1.0 images/s, 2 min left, 2 done before"
    assert second == "2 of 4 shards, 1 failed (not_tar 1), 0.5 images/s, 1 min left, 2 done before"


def test_a_short_job_writes_no_line_into_a_log(capsys):
    with LabelProgress(1, already_done=0) as shown:
        shown.add(DONE)
    assert capsys.readouterr() == ("", "")


def test_it_is_written_to_stderr(capsys):
    clock = Clock()
    with LabelProgress(2, already_done=0, clock=clock) as shown:
        clock.now += 31
        shown.add(DONE)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("1 of 2 shards")


def test_after_resume_rate_and_time_left_are_this_jobs():
    shown = Shown(1000, already_done=499_000)
    for _ in range(100):
        shown.add(DONE, after=1)
    shown.add(DONE, after=5)
    assert shown.lines[-1].startswith("90 of 1,000 shards")
    assert shown.lines[-1].endswith("30.0 images/s, 15 min left, 499,000 done before")


def test_half_a_million_shards_write_few_lines_and_the_last_is_right():
    shown = Shown(500_000)
    for shard in range(500_000):
        shown.add(CUT if shard % 1000 == 0 else FAILED if shard % 2500 == 1 else DONE, after=0.1)
    lines = shown.lines
    assert 100 < len(lines) < 400
    ended = int(lines[-1].split(" of ")[0].replace(",", ""))
    assert ended > 490_000
    assert f"(truncated {ended // 1000 + 1}, others), " in lines[-1]
    assert rate(lines[-1]) == pytest.approx(300, rel=0.01)


def test_the_rate_follows_machines_that_leave():
    shown = Shown(100_000)
    for _ in range(36_000):
        shown.add(DONE, after=0.1)
    for _ in range(900):
        shown.add(DONE, after=1)
    assert rate(shown.lines[-1]) == pytest.approx(30, rel=0.02)


def test_the_commonest_reason_stands_beside_the_failures():
    shown = Shown(10)
    for row in (FAILED, CUT, CUT):
        shown.add(row, after=1)
    shown.add(DONE, after=30)
    assert "3 failed (truncated 2, others)" in shown.lines[-1]


def test_the_sweep_is_named_and_counts_its_own_shards():
    shown = Shown(100, already_done=7)
    for _ in range(97):
        shown.add(DONE, after=0.1)
    shown.progress.sweep(3)
    shown.add(DONE, after=60)
    assert shown.lines == [
        "sweep: 3 shards are left, and tried once more, each alone",
        "sweep: 1 of 3 shards, 0 failed, 0.5 images/s, 2 min left, 7 done before",
    ]


def test_a_terminal_shows_a_bar_over_all_shards_asked_for():
    shown = Shown(2, already_done=3, terminal=True)
    with shown.progress:
        shown.add(DONE, after=5)
        shown.add(FAILED, after=5)
    text = shown.text.getvalue()
    assert "labeling" in text
    assert "5/5" in text
    assert "1 failed (not_tar 1), 3.0 images/s, 0 s left, 3 done before" in text


def test_a_terminal_shows_the_sweep_and_an_estimate_that_grows_while_nothing_ends():
    shown = Shown(10, terminal=True)
    with shown.progress:
        for _ in range(8):
            shown.add(DONE, after=5)
        shown.progress.sweep(2)
        shown.add(DONE, after=60)
        shown.clock.now += 3600
    text = shown.text.getvalue()
    assert "sweeping" in text
    assert "9/10" in text
    assert "0.0 images/s, 1 h 1 min left" in text
