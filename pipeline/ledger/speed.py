"""How fast a run gets on, as its ledger tells it on any machine. A running job's own view is pipeline/progress.py."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from maskmill.pipeline.ledger.ledger import LedgerRow, part_time
from maskmill.pipeline.ledger.pace import Pace
from maskmill.pipeline.ledger.status import Status
from maskmill.pipeline.output import Output

QUIET_SECONDS = 360.0
"""A job reports every two minutes or, where shards take longer, as they end. Without a report for so long, or for three
times what the slowest shard took, it seems to have stopped."""

BREAK_SECONDS = 30.0
"""A time without any shard in work that is longer than this lies between two jobs: its speed is neither's."""

SLOWEST = 5
"""Shards named for being slow."""

Times = NDArray[np.float64]
"""Seconds since 1970 of several shards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSpeed:
    """The speed of a run. Times are those of the machines that labeled; their clocks should agree."""

    reported: datetime | None
    """When a job last wrote into the ledger, UTC; None where none did since the last one ended."""

    running: bool
    """Whether that is so recent that the job seems to be running."""

    recent: float | None
    """Images/s in the last minutes of the running job; None without one."""

    overall: float | None
    """Images/s over the time in which at least one shard was in work; None where nothing was timed."""

    worked: float
    """Seconds in which at least one shard was in work."""

    left: float | None
    """Seconds that the missing shards take at the recent speed; None without a running job."""

    slowest: tuple[LedgerRow, ...]
    """The shards that took longest, slowest first; all have `started` and `ended`."""


def run_speed(now: Status, output: Output, *, at: datetime | None = None) -> RunSpeed:
    """The speed of a run.

    Args:
        now: its status.
        output: its place; the names of the ledger's parts say when they were written.
        at: the present, UTC.
    """
    moments = [moment for part in output.ledger_parts() if (moment := part_time(part)) is not None]
    reported = max(moments, default=None)
    timed = now.table.filter(pc.and_(pc.is_valid(now.table["started"]), pc.is_valid(now.table["ended"])))
    started, ended = _seconds(timed["started"]), _seconds(timed["ended"])
    read: NDArray[np.int64] = np.where(pc.equal(timed["state"], "done").to_numpy(), timed["read"].to_numpy(), 0)
    slow = np.argsort(started - ended, kind="stable")[:SLOWEST]
    quiet = max([QUIET_SECONDS, *(3 * (ended - started)[slow[:1]])])
    running = reported is not None and ((at or datetime.now(UTC)) - reported).total_seconds() < quiet
    begins, ends = _stretches(started, ended)
    worked = float((ends - begins).sum())
    recent = left = None
    if running and len(begins):
        last = float(ended.max())
        lately = _lately(float(begins[-1]), ended, read)
        recent, left = lately.images_a_second(last), lately.seconds_for(now.shards("missing"), last)
    return RunSpeed(
        reported=reported,
        running=running,
        recent=recent,
        overall=float(read.sum()) / worked if worked else None,
        worked=worked,
        left=left,
        slowest=tuple(Status(table=timed.take(pa.array(slow))).rows()),
    )


def _seconds(moments: pa.ChunkedArray) -> Times:
    seconds: Times = pc.cast(moments, pa.int64()).to_numpy() / 1e6
    return seconds


def _stretches(started: Times, ended: Times) -> tuple[Times, Times]:
    """Begins and ends of the times of work, in order, breaks left out."""
    order = np.argsort(started)
    begins, reach = started[order], np.maximum.accumulate(ended[order])
    breaks = np.flatnonzero(begins[1:] - reach[:-1] > BREAK_SECONDS)
    return begins[np.r_[0, breaks + 1][: len(begins)]], reach[np.r_[breaks, -1][: len(begins)]]


def _lately(since: float, ended: Times, read: NDArray[np.int64]) -> Pace:
    """The pace of the job that began then."""
    pace = Pace(since)
    mine = np.flatnonzero(ended >= since)
    for index in mine[np.argsort(ended[mine])]:
        pace.add(float(ended[index]), int(read[index]))
    return pace
