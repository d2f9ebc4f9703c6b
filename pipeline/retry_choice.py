"""Which shards of a run to label again: failed and missing ones, and done ones that are worth it. Labels nothing."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline import run
from maskmill.pipeline.content import holds_what_was_labeled
from maskmill.pipeline.ledger.status import status
from maskmill.pipeline.ledger.summary import counted
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.shards.moved import UNMOVED, ShardsAt
from maskmill.pipeline.shards.shard import Shard, describe_many
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.table.label_table import LabelTable

COMPARED_AT_ONCE = 4
"""Shards that are fetched and compared at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Shards to label again, each counted once."""

    shards: tuple[Shard, ...]
    """In the order of the manifest; `replace` is set where a label file stands, and stays until it is replaced."""

    failed: int
    """Failed shards among them."""

    missing: int
    """Missing shards among them."""

    failed_samples: int
    """Done shards among them with too many failed samples."""

    stale: int
    """Done shards among them whose source has changed since, and that aren't counted for their samples."""

    same: tuple[Shard, ...]
    """Done shards with another etag or time that hold what was labeled all the same, as they are now."""

    same_as: tuple[str, ...]
    """Of each of these, the etag that it was labeled with."""

    gone: int
    """Done shards that would be among them, but their source is no longer there; their labels are kept."""


def choose(
    output: Output,
    *,
    failed_samples: float | None = None,
    stale: bool = False,
    moved: ShardsAt = UNMOVED,
    scratch: Path | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> Chosen:
    """The failed and missing shards of a run, as their stores have them now, and done ones where asked for.

    Args:
        output: a run.
        failed_samples: also done shards with more than this share of failed samples.
        stale: also done shards whose source isn't what was labeled: those of another size, and of those of another etag
            or time the ones that `pipeline.content` finds to differ; for that they are fetched.
        moved: where shards lie that were named elsewhere.
        scratch: an existing local folder for shards that are compared; the system's if None.
        told: takes a line before shards are compared.

    Raises:
        UsageError: a file of the run is damaged, or a share that is none.
        EnvironmentFailure: a store doesn't answer.
    """
    if failed_samples is not None and not 0.0 <= failed_samples <= 1.0:
        raise UsageError(f"--failed-samples {failed_samples}: expected a share between 0 and 1, such as 0.1.")
    table = status(output).table
    done = pc.equal(table["state"], "done").to_numpy()
    many = np.zeros(len(table), bool)
    if failed_samples is not None:
        many = done & (table["failed"].to_numpy() > failed_samples * table["read"].to_numpy())
    wanted = np.flatnonzero(~done | many | (done & stale))
    rows = table.take(pa.array(wanted))
    standing = output.done()
    names: list[str] = rows["url"].to_pylist()
    moved.refuse_unused(table["url"].to_pylist())
    shards: list[Shard] = []
    same: list[Shard] = []
    counts = {"failed": 0, "missing": 0, "failed_samples": 0, "stale": 0, "gone": 0}
    columns = [rows[name].to_pylist() for name in ("state", "size", "etag")]
    found = _described(names, moved)
    labeled = [
        Shard(url=url, source=now.source, size=size, etag=etag)
        for url, now, size, etag in zip(names, found, *columns[1:], strict=True)
    ]
    suspects = [
        (before, now)
        for before, now, state, has_many in zip(labeled, found, columns[0], many[wanted], strict=True)
        if state == "done" and not has_many and not now.missing and _differs(now.etag, before.etag)
        # Another size is another shard, whatever its bytes.
        if not _differs(now.size, before.size)
    ]
    equal = _equal(output, suspects, scratch, told)
    for now, before, has_many, state in zip(found, labeled, many[wanted], columns[0], strict=True):
        if state != "done":
            kind = state
        elif has_many:
            kind = "failed_samples"
        elif now.url in equal:
            same.append(now)
            continue
        elif now.missing or _differs(now.etag, before.etag) or _differs(now.size, before.size):
            kind = "stale"
        else:
            continue
        if state == "done" and now.missing:
            counts["gone"] += 1
            continue
        counts[kind] += 1
        # A damaged label file stands where its shard counts as missing.
        shards.append(replace(now, replace=now.label_name in standing))
    etags = {before.url: before.etag or "" for before in labeled}
    return Chosen(shards=tuple(shards), same=tuple(same), same_as=tuple(etags[shard.url] for shard in same), **counts)


def _equal(
    output: Output, suspects: Sequence[tuple[Shard, Shard]], scratch: Path | None, told: Callable[[str], None]
) -> frozenset[str]:
    """URLs of the shards that hold what was labeled, of pairs of a shard as it was and as it is now."""
    if not suspects:
        return frozenset()
    asked = manifest.read(output)
    known = {
        row["url"]: (row["etag"], row["same_as"]) for row in asked.filter(pc.field("same_as").is_valid()).to_pylist()
    }
    equal = {before.url for before, now in suspects if known.get(before.url) == (now.etag, before.etag)}
    left = [before for before, _ in suspects if before.url not in equal]
    if not left:
        return frozenset(equal)
    told(f"compares {counted(len(left), 'shard')} of another etag or time with the labels")
    table = LabelTable(output)
    limits = run.limits(run.require(output))
    folder = Path(gettempdir()) if scratch is None else scratch

    def holds(shard: Shard) -> bool:
        return holds_what_was_labeled(shard, table, folder, limits)

    with ThreadPoolExecutor(COMPARED_AT_ONCE) as threads:
        equal.update(shard.url for shard, same in zip(left, threads.map(holds, left), strict=True) if same)
    return frozenset(equal)


def lines(chosen: Chosen, output: Output) -> list[str]:
    """What was chosen, for people."""
    reasons = {
        "failed": chosen.failed,
        "missing": chosen.missing,
        "done with failed samples": chosen.failed_samples,
        "stale": chosen.stale,
    }
    told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
    what = (
        f"{counted(len(chosen.shards), 'shard')} of {redact(output.url)}: {told}" if told else "nothing to label again"
    )
    found = [f"retry     {what}"]
    if chosen.same:
        same = counted(len(chosen.same), "done shard")
        found.append(f"same      {same} of another etag or time, with the bytes that were labeled")
    if chosen.gone:
        found.append(f"kept      {chosen.gone:,} done shards whose source is no longer there")
    return found


def _described(urls: Sequence[str], moved: ShardsAt) -> list[Shard]:
    """Shards by their canonical URLs, as their stores have them; these are names, never patterns."""
    try:
        found = describe_many([moved.source(url) for url in urls])
        return [replace(shard, url=url) for shard, url in zip(found, urls, strict=True)]
    except OSError as error:
        raise EnvironmentFailure(
            f"the shards can't be looked up: {redact(str(error))}. Check the credentials."
        ) from error


def _differs(now: object, before: object) -> bool:
    return now is not None and before is not None and now != before
