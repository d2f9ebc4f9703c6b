"""A job that ends early loses nothing: killed or interrupted, the same command gives the table of one run."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.jobs.conftest import MANY_SEGMENTS, Running, Workplace

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same in IPv6, and ::1, as /proc/net writes them."""

ONE_CPU = ("--batch-size", "4", "--cpus-per-replica", "1")
"""With the same threads and batch size labels are the same to the bit."""

SHARDS = 12


def start(place: Workplace, out: str) -> Running:
    return place.start("label", "shards", "--output", out, *MANY_SEGMENTS, *ONE_CPU)


def labels(place: Workplace, out: str) -> list[Path]:
    return sorted((place.cwd / out / "labels").glob("*.parquet"))


@pytest.fixture(scope="module")
def whole(shared_workplace: Workplace) -> Workplace:
    """A folder with shards and the table `whole` of one undisturbed run."""
    shared_workplace.run("synthesize", "shards", "--shards", str(SHARDS), "--samples", "16")
    assert start(shared_workplace, "whole").wait().code == 0
    return shared_workplace


def same(place: Workplace, out: str) -> None:
    """The table `out` is that of the undisturbed run, and its ledger is complete."""
    ours, theirs = labels(place, out), labels(place, "whole")
    assert [path.name for path in ours] == [path.name for path in theirs]
    assert len(ours) == SHARDS
    for mine, other in zip(ours, theirs, strict=True):
        assert pq.read_table(mine).equals(pq.read_table(other)), mine.name
    columns = ["url", "state", "read", "labeled", "segments"]
    ledgers = [pq.read_table(place.cwd / name / "ledger.parquet", columns=columns) for name in (out, "whole")]
    assert ledgers[0].equals(ledgers[1])


@pytest.mark.slow
def test_a_job_killed_half_way_is_finished_by_the_same_command(whole: Workplace) -> None:
    running = start(whole, "killed")
    running.until(lambda: len(labels(whole, "killed")) >= 3)
    assert set() < running.listening() <= LOOPBACK, "a cluster of one is for this machine alone"
    running.kill()
    done = {path: path.stat().st_mtime_ns for path in labels(whole, "killed")}
    assert 3 <= len(done) < SHARDS
    again = start(whole, "killed").wait()
    assert again.code == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in done} == done, "done shards are labeled once"
    same(whole, "killed")


@pytest.mark.slow
def test_a_head_that_dies_ends_the_job_with_one_line_and_the_same_command_goes_on(whole: Workplace) -> None:
    place = replace(whole, environment={**whole.environment, "RAY_gcs_rpc_server_reconnect_timeout_s": "20"})
    running = start(place, "headless")
    running.until(lambda: len(labels(whole, "headless")) >= 3)
    (head,) = (pid for pid in running.processes() if b"gcs_server" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(head, signal.SIGKILL)
    ended = running.wait()
    assert ended.code == 3, ended.err
    *started, last = ended.steps
    assert started == ["starting Ray", "loading san-tiny"]
    assert "the head of the Ray cluster has not answered" in last
    running.kill()  # what the head left behind
    assert start(whole, "headless").wait().code == 0
    same(whole, "headless")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_ctrl_c_and_sigterm_leave_one_line_and_a_table_that_resumes(
    whole: Workplace, number: signal.Signals, code: int, said: str
) -> None:
    running = start(whole, said)
    running.until(lambda: len(labels(whole, said)) >= 3)
    # A terminal sends SIGINT to all foreground processes, whoever ends a machine SIGTERM to the command.
    running.interrupt() if number == signal.SIGINT else os.kill(running.pid, number)
    ended = running.wait()
    assert ended.code == code, ended.err
    assert ended.steps == ["starting Ray", "loading san-tiny", f"maskmill: {said}"]
    assert running.processes() == [], "the cluster's processes end with their driver"
    ledger = pq.read_table(whole.cwd / said / "ledger.parquet")
    assert ledger["state"].to_pylist().count("done") == len(labels(whole, said))
    assert start(whole, said).wait().code == 0
    same(whole, said)
