"""The few lines that say how a run stands: printed at the end of `label` and by `status`."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from pipeline.status import Status

SHOWN = 10
"""Failed or stale shards listed before the rest is only counted."""


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
    if now.unkeyed:
        text.append(f"other     {now.unkeyed:,} files in the shards belong to no sample")
    if now.truncated:
        text.append(f"cut       {now.truncated:,} done shards were cut; their whole samples were taken")
    text += _listed(
        "failed", failed, (f"{row.url}  {row.error}  (attempts: {row.attempts})" for row in now.rows("failed"))
    )
    text += _listed("missing", missing, now.urls("missing"))
    stale = (f"{url}  changed in the store since it was labeled" for url in now.urls("stale"))
    text += _listed("stale", now.shards("stale"), stale)
    return text


def to_json(now: Status) -> dict[str, Any]:
    """The summary for programs."""
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
        "truncated": now.truncated,
        "failed": [{"url": row.url, "error": row.error, "attempts": row.attempts} for row in now.rows("failed")],
        "missing": list(now.urls("missing")),
        "stale": list(now.urls("stale")),
    }


def _listed(word: str, count: int, entries: Iterator[str]) -> list[str]:
    text = [f"{word:<9} {entry}" for entry in islice(entries, SHOWN)]
    if count > SHOWN:
        text.append(f"{word:<9} and {count - SHOWN:,} more")
    return text
