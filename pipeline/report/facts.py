"""What a report says of the whole run: identity, ledger and classes, exact, from run.json and the ledger alone."""

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.merging import Merged, merged
from pipeline.output import Output
from pipeline.report.page import short
from pipeline.status import Status
from pipeline.urls import redact

LISTED = 50
"""Failed, missing or stale shards that a page names at most."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ledger:
    """A run's ledger, added up."""

    status: Status
    """Shards and samples."""

    segments: NDArray[np.int64]
    """Segments by vocabulary id, over all done shards."""

    images: NDArray[np.int64]
    """Images with such a segment."""

    @property
    def done(self) -> pa.Table:
        """`url` and `read` of the done shards."""
        return self.status.table.filter(pc.field("state") == "done").select(["url", "read"])


def ledger_of(output: Output, classes: int) -> Ledger:
    """Add up the ledger; class counts pass through memory a block of shards at a time.

    Raises:
        UsageError: a file of it is damaged.
        OutputError: one can't be read.
    """
    totals = np.zeros((2, classes), np.int64)
    with merged(output) as now:
        for ids, counts in _class_counts(now):
            known = (ids >= 0) & (ids < classes)
            for total, values in zip(totals, counts, strict=True):
                np.add.at(total, ids[known], values[known])
        return Ledger(status=Status(table=now.table), segments=totals[0], images=totals[1])


def _class_counts(now: Merged) -> Any:
    for block in now.blocks():
        entries = pc.list_flatten(block["class_counts"]).combine_chunks()
        yield (
            pc.struct_field(entries, "vocab_id").to_numpy(zero_copy_only=False),
            [pc.struct_field(entries, name).to_numpy(zero_copy_only=False) for name in ("segments", "images")],
        )


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


def ledger_facts(ledger: Ledger) -> dict[str, Any]:
    """The ledger as a page shows it."""
    now = ledger.status
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
