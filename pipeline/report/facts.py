"""What a report says of the whole run: identity and ledger, exact, as the page's scripts read them."""

from itertools import islice
from typing import Any

from maskmill.pipeline.ledger.status import Status
from maskmill.pipeline.output import Output
from maskmill.pipeline.report.page import short
from maskmill.pipeline.stores.urls import redact

LISTED = 50
"""Failed, missing or stale shards that a page names at most."""


def run_facts(recorded: dict[str, Any], output: Output) -> dict[str, Any]:
    """The run's identity as a page shows it."""
    identity = recorded["identity"]
    return {
        "output": redact(output.url),
        "created": recorded.get("created"),
        "sealed": recorded.get("sealed") is True,
        "fingerprint": recorded["fingerprint"],
        "identity": {name: _plain(value) for name, value in identity.items()},
        "versions": {str(name): str(value)[:40] for name, value in (recorded.get("versions") or {}).items()},
    }


def ledger_facts(now: Status) -> dict[str, Any]:
    """The ledger as a page shows it."""
    failed = islice(now.rows("failed"), LISTED)
    return {
        "shards": {state: now.shards(state) for state in ("done", "failed", "missing", "stale")},
        "asked": len(now),
        "read": now.read,
        "labeled": now.labeled,
        "failed": now.failed_by_reason,
        "segments": now.segments,
        "bytes": now.bytes,
        "unkeyed": now.unkeyed,
        "truncated": now.truncated,
        "listed": {
            "failed": [[short(redact(row.url), 300), short(redact(row.error or ""), 300)] for row in failed],
            "missing": [[short(redact(url), 300), ""] for url in islice(now.urls("missing"), LISTED)],
            "stale": [[short(redact(url), 300), ""] for url in islice(now.urls("stale"), LISTED)],
        },
    }


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(short(redact(str(value)), 200))
