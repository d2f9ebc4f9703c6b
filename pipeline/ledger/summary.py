"""The few lines that say how a run stands: printed at the end of `label` and by `status`."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.ledger.pace import duration
from maskmill.pipeline.ledger.speed import RunSpeed
from maskmill.pipeline.ledger.status import Status

SHOWN = 10
"""Failed, missing or stale shards listed before the rest is only counted."""


PACK = "find FOLDER -type f | sort | tar -cf NEW.tar -T -"
"""Packs a folder's files by name, with GNU's tar and BSD's: a sample's files, which begin alike, come one after the
other."""


def lines(now: Status) -> list[str]:
    """The summary for people."""
    done, failed, missing = (now.shards(state) for state in ("done", "failed", "missing"))
    share = now.segments / now.labeled if now.labeled else 0.0
    reasons = now.failed_by_reason
    failures = f" ({', '.join(f'{reason} {n:,}' for reason, n in reasons.items())})" if reasons else ""
    text = [
        f"shards    {done:,} done, {failed:,} failed, {missing:,} missing, of {len(now):,} asked for",
        f"samples   {now.read:,} read = {now.labeled:,} labeled + {now.read - now.labeled:,} failed{failures}",
        f"segments  {now.segments:,}, {share:.1f} a labeled image; label files {now.bytes / 1e6:,.1f} MB",
    ]
    if now.unkeyed or now.directories:
        others = [counted(now.unkeyed, "file")] if now.unkeyed else []
        others += [counted(now.directories, "directory")] if now.directories else []
        belong = "belongs" if now.unkeyed + now.directories == 1 else "belong"
        text.append(f"other     {' and '.join(others)} in the shards {belong} to no sample")
    if warned := now.warned:
        text.append(f"warnings  {', '.join(f'{word} {n:,}' for word, n in warned.items())}")
    if apart := warned.get("split_sample"):
        text.append(f"split     {counted(apart, 'sample')} packed apart: read whole here, not by webdataset")
        text.append(f"          to pack right: {PACK}")
    if now.truncated:
        text.append(f"cut       {now.truncated:,} done shards were cut; their whole samples were taken")
    failed_shards = (f"{row.url}  {row.error}  (attempts: {row.attempts})" for row in now.rows("failed"))
    text += _listed("failed", failed, failed_shards)
    if now.absent:
        text.append("          `maskmill forget OUT SHARDS` takes names out of the run that were mistyped")
    text += _listed("missing", missing, now.urls("missing"))
    stale = (f"{url}  has another etag or time than when it was labeled" for url in now.urls("stale"))
    text += _listed("stale", now.shards("stale"), stale)
    if now.shards("stale"):
        text.append("          `maskmill retry OUT --stale` compares them, and labels again those that differ")
    return text


def speed_lines(speed: RunSpeed, now: Status, *, at: datetime | None = None) -> list[str]:
    """How fast the run gets on, for people."""
    text = []
    missing = now.shards("missing")
    if speed.overall is not None:
        recent = "" if speed.recent is None else f"{speed.recent:,.1f} images/s lately, "
        text.append(f"speed     {recent}{speed.overall:,.1f} images/s over {duration(speed.worked)} of work")
    if speed.left is not None and missing:
        text.append(f"left      about {duration(speed.left)} for {counted(missing, 'shard')}")
    if speed.reported is not None:
        ago = duration(max(((at or datetime.now(UTC)) - speed.reported).total_seconds(), 0.0))
        stopped = "" if speed.running else "; the job has stopped, the same `label` goes on with it"
        text.append(f"report    the job's last was {ago} ago{stopped}")
    elif missing:
        text.append("report    none yet: a job has just begun, or none is running and the same `label` goes on with it")
    return text + [f"slowest   {_spent(row)}  {row.url}" for row in speed.slowest]


def counted(number: int, noun: str) -> str:
    """1 file, 2 files, 2 directories."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else several}"


def to_json(now: Status) -> dict[str, Any]:
    """The summary for programs; its long lists are iterators, which `json_stream.chunks` writes."""
    return {
        "shards": {state: now.shards(state) for state in ("done", "failed", "missing", "stale")},
        "samples": {
            "read": now.read,
            "labeled": now.labeled,
            "failed": now.read - now.labeled,
            "failed_by_reason": now.failed_by_reason,
        },
        "segments": now.segments,
        "bytes": now.bytes,
        "unkeyed": now.unkeyed,
        "directories": now.directories,
        "warnings": now.warned,
        "truncated": now.truncated,
        "failed": ({"url": row.url, "error": row.error, "attempts": row.attempts} for row in now.rows("failed")),
        "missing": now.urls("missing"),
        "stale": now.urls("stale"),
    }


def speed_to_json(speed: RunSpeed) -> dict[str, Any]:
    """How fast the run gets on, for programs."""
    return {
        "running": speed.running,
        "reported": None if speed.reported is None else speed.reported.isoformat(timespec="seconds"),
        "images_per_second": speed.recent,
        "images_per_second_overall": speed.overall,
        "seconds_worked": speed.worked,
        "seconds_left": speed.left,
        "slowest": [
            {"url": row.url, "seconds": _took(row), "phases": row.seconds, "replica": row.replica}
            for row in speed.slowest
        ],
    }


def _took(row: LedgerRow) -> float:
    assert row.started is not None, "only timed shards are slow"
    assert row.ended is not None, "only timed shards are slow"
    return (row.ended - row.started).total_seconds()


def _spent(row: LedgerRow) -> str:
    """How long a shard took, where, and in which phases most of it."""
    phases = sorted((row.seconds or {}).items(), key=lambda entry: -entry[1])
    told = "".join(f", {phase} {seconds:,.1f}" for phase, seconds in phases if seconds >= _took(row) / 10)
    return f"{_took(row):,.1f} s{told}  on {row.replica}"


def _listed(word: str, count: int, entries: Iterator[str]) -> list[str]:
    text = [f"{word:<9} {entry}" for entry in islice(entries, SHOWN)]
    if count > SHOWN:
        text.append(f"{word:<9} and {count - SHOWN:,} more")
    return text
