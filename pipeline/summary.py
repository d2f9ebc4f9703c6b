"""The few lines that say how a run stands: printed at the end of `label` and by `status`."""

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
        f"shards    {done:,} done, {failed:,} failed, {missing:,} missing, of {len(now.rows):,} asked for",
        f"samples   {now.read:,} read = {now.labeled:,} labeled + {now.read - now.labeled:,} failed{failures}",
        f"segments  {now.segments:,}, {share:.1f} a labeled image; label files {now.bytes / 1e6:,.1f} MB",
    ]
    if now.unkeyed:
        text.append(f"other     {now.unkeyed:,} files in the shards belong to no sample")
    if now.truncated:
        text.append(f"cut       {now.truncated:,} done shards were cut; their whole samples were taken")
    text += _listed("failed", [f"{row.url}  {row.error}  (attempts: {row.attempts})" for row in now.failures])
    text += _listed("missing", [row.url for row in now.rows if row.state == "missing"])
    text += _listed("stale", [f"{url}  changed in the store since it was labeled" for url in now.stale])
    return text


def to_json(now: Status) -> dict[str, Any]:
    """The summary for programs."""
    return {
        "shards": {state: now.shards(state) for state in ("done", "failed", "missing")} | {"stale": len(now.stale)},
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
        "failed": [{"url": row.url, "error": row.error, "attempts": row.attempts} for row in now.failures],
        "missing": [row.url for row in now.rows if row.state == "missing"],
        "stale": list(now.stale),
    }


def _listed(word: str, entries: list[str]) -> list[str]:
    text = [f"{word:<9} {entry}" for entry in entries[:SHOWN]]
    if len(entries) > SHOWN:
        text.append(f"{word:<9} and {len(entries) - SHOWN:,} more")
    return text
