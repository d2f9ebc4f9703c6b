"""What is known of a shard that could not be labeled: its reason, its attempts, its record in failed/."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from maskmill.models.disk import is_of_disk
from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.errors import ShardError, ShardReason
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores.errors import OutputError
from maskmill.pipeline.stores.publish import remove
from maskmill.pipeline.stores.urls import redact

PASSING: frozenset[ShardReason] = frozenset({"read", "device", "disk", "publish", "stalled", "crashed"})
"""Reasons that may be gone at a second try, on another machine or a little later."""

REQUESTS = 16
"""Requests in flight while records are read."""


def failure(error: Exception) -> ShardError:
    """What an exception says about the shard it came out of."""
    from maskmill.pipeline.labeling.model_thread import poisons

    if isinstance(error, ShardError):
        return error
    if poisons(error):
        return ShardError("device", str(error))
    if isinstance(error, OutputError):
        cause = error.__cause__
        full = isinstance(cause, Exception) and is_of_disk(cause)
        return ShardError("disk" if full else "publish", str(error))
    if isinstance(error, EnvironmentFailure | OSError):
        # Shards and OUT have errors of their own; what is left is scratch.
        return ShardError("disk", str(error))
    return ShardError("internal", f"{type(error).__name__}: {error}")


def another_run(url: str, there: str, here: str) -> ShardError:
    """What a shard fails with at whose place a label file of another run stands; arguments: its URL, fingerprints."""
    return ShardError(
        "other_run",
        f"{redact(url)} was made by run {there[:16]}, this is {here[:16]}. Remove it and run the same `label` again.",
    )


def recorded(row: LedgerRow, shard: Shard, output: Output, *, attempt: int | None) -> LedgerRow:
    """Leave a failure on record, or take an earlier one off it.

    Args:
        row: how the attempt ended.
        shard: what was attempted.
        output: where failed/ is.
        attempt: which attempt it was, over all jobs; None counts on from the record.

    Returns:
        The row with its attempts.

    Raises:
        UsageError: what stands in failed/ is damaged.
        OutputError: failed/ can't be read or written.
    """
    url = output.failed(shard.label_name)
    if attempt is None:
        attempt = 1 + _attempts(output.read_json(url))
    row = replace(row, attempts=attempt)
    if row.state == "failed":
        output.write_json(url, row.to_json())
    elif attempt > 1:
        remove(url)
    return row


def record(output: Output, shard: Shard) -> LedgerRow | None:
    """The record of a failed shard; None if there is none, or it is damaged."""
    try:
        value = output.read_json(output.failed(shard.label_name))
        return None if value is None else LedgerRow.from_json(value)
    except (UsageError, KeyError, TypeError, ValueError, AssertionError):
        return None


def attempts(output: Output, shards: Iterable[Shard]) -> Mapping[str, int]:
    """How often shards with a failure on record were tried so far, by canonical URL; the others are left out.

    One listing, and one small read for each failure on record among these shards.

    Raises:
        OutputError: failed/ can't be read.
    """
    failures = output.failures()
    mine = [shard for shard in shards if shard.label_name in failures] if failures else []

    def tried(shard: Shard) -> int:
        try:
            # A record that says nothing still says that it was tried.
            return max(1, _attempts(output.read_json(output.failed(shard.label_name))))
        except UsageError:
            return 1

    with ThreadPoolExecutor(REQUESTS) as threads:
        return dict(zip((shard.url for shard in mine), threads.map(tried, mine), strict=True))


def _attempts(value: Mapping[str, object] | None) -> int:
    found = (value or {}).get("attempts")
    return found if isinstance(found, int) and found >= 0 else 0
