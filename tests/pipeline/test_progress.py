"""What is shown while a job runs goes to stderr, a line now and then where it is no terminal, and counts right."""

import pytest

from pipeline import progress
from pipeline.counts import Counts
from pipeline.ledger import LedgerRow
from pipeline.progress import LabelProgress

DONE = LedgerRow(url="a", state="done", counts=Counts(read=30, labeled=30))
FAILED = LedgerRow(url="b", state="failed", error="not_tar: no archive")


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_a_log_has_a_line_for_what_ended_and_what_is_left(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    with LabelProgress(4, already_done=2) as shown:
        shown.add(DONE)
        shown.add(FAILED)
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("1 of 4 shards, 0 failed")
    assert second.startswith("2 of 4 shards, 1 failed")
    assert second.endswith("0 min left")


def test_a_short_job_writes_no_line_into_a_log(capsys):
    with LabelProgress(1, already_done=0) as shown:
        shown.add(DONE)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_a_bar_over_all_shards_asked_for(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with LabelProgress(2, already_done=3) as shown:
        shown.add(DONE)
        shown.add(FAILED)
    out, err = capsys.readouterr()
    assert out == ""
    assert "5/5" in err
    assert "1 failed" in err
