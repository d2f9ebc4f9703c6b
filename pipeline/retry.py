"""Which shards of a run to label again, and with what: run.json's own configuration. The labeling is `label`'s."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline import parquet, run
from maskmill.pipeline.config import (
    Device,
    InferenceConfig,
    JobConfig,
    LabelConfig,
    ModelConfig,
    ReplicaConfig,
    VocabularyConfig,
)
from maskmill.pipeline.content import holds_what_was_labeled
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.status import Status, settle, status
from maskmill.pipeline.ledger.summary import counted
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.decoding import DecodingConfig
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.shards.moved import ShardsAt
from maskmill.pipeline.shards.shard import Shard, describe_many
from maskmill.pipeline.stores.publish import publish
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.table.label_table import LabelTable

COMPARED_AT_ONCE = 4
"""Shards that are fetched and compared at a time."""

_Group = TypeVar("_Group", ModelConfig, VocabularyConfig, InferenceConfig, ReadLimits, DecodingConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What a retry is told anew, where run.json's word can't be taken: it keeps no credentials, and paths move."""

    weights: str | None = None
    """Checkpoint; None for the one on record."""

    vocab: str | None = None
    """Label set or file; None for the one on record."""

    templates: str | None = None
    """Template set or file; None for the one on record."""

    device: Device | None = None
    """Where replicas compute; None for what is on record."""


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


def configuration(output: Output, *, given: Given, replica: ReplicaConfig, job: JobConfig) -> LabelConfig:
    """The configuration that a run was labeled with, from its run.json; what changes no labels is as given now.

    `--max-failed-samples` is the recorded one where `job` has the default.

    Raises:
        UsageError: no run, a sealed table, a configuration that this maskmill doesn't know, an option that was recorded
            without its credentials and isn't given now.
    """
    recorded = run.require(output)
    run.refuse_sealed(recorded, output)
    shown = redact(output.run)
    groups: Any = recorded.get("config")
    if not isinstance(groups, dict):
        raise UsageError(f"{shown}: has no config. Run the same `maskmill label` again instead.")
    told = {
        ("model", "weights"): given.weights,
        ("model", "device"): given.device,
        ("vocabulary", "vocab"): given.vocab,
        ("vocabulary", "templates"): given.templates,
    }
    redacted = recorded.get("redacted", [])
    for (named, option), value in told.items():
        if value is None and isinstance(redacted, list) and f"{named}.{option}" in redacted:
            raise UsageError(f"--{option}: {shown} keeps no credentials, and its URL had some. Give --{option} again.")

    def group(kind: type[_Group], name: str) -> _Group:
        anew = {option: value for (named, option), value in told.items() if named == name and value is not None}
        return _rebuilt(kind, groups.get(name), anew, f"{shown}: config.{name}")

    return LabelConfig(
        model=group(ModelConfig, "model"),
        vocabulary=group(VocabularyConfig, "vocabulary"),
        inference=group(InferenceConfig, "inference"),
        limits=group(ReadLimits, "limits"),
        decoding=group(DecodingConfig, "decoding") if "decoding" in groups else DecodingConfig(),
        replica=replica,
        job=_with_recorded_share(job, groups.get("job")),
    )


def choose(
    output: Output,
    *,
    failed_samples: float | None = None,
    stale: bool = False,
    moved: ShardsAt = ShardsAt(),
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
    limits = ReadLimits(**run.require(output)["identity"]["limits"])
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
        found.append(
            f"same      {counted(len(chosen.same), 'done shard')} of another etag or time, with the bytes that were labeled"
        )
    if chosen.gone:
        found.append(f"kept      {chosen.gone:,} done shards whose source is no longer there")
    return found


def forget(output: Output, urls: Sequence[str]) -> None:
    """Take shards out of the ledger before their label files are replaced.

    What a ledger says of a done shard is believed: a job that is killed between a new label file and its row would
    leave the old file's counts with the new file. Of a shard that no ledger knows, the file's own footer is read.
    """
    if not urls:
        return
    settle(output)
    gone = pa.array(urls, pa.string())
    with TemporaryDirectory() as scratch, parquet.opened(output.ledger, ledger.SCHEMA, fix=ledger.FIX) as file:
        assert file is not None, "settled just now"
        local = Path(scratch) / "ledger.parquet"
        with pq.ParquetWriter(local, ledger.SCHEMA, compression="zstd", write_page_checksum=True) as writer:
            for number in range(file.num_row_groups):
                rows = file.read_row_group(number)
                writer.write_table(rows.filter(pc.invert(pc.is_in(rows["url"], value_set=gone))))
        publish(local, output.ledger)


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


def _with_recorded_share(job: JobConfig, recorded: object) -> JobConfig:
    share = recorded.get("max_failed_samples") if isinstance(recorded, Mapping) else None
    if isinstance(share, int | float) and job.max_failed_samples == JobConfig().max_failed_samples:
        return replace(job, max_failed_samples=float(share))
    return job


def _rebuilt(kind: type[_Group], recorded: object, anew: Mapping[str, Any], shown: str) -> _Group:
    """A group of options from its JSON, each of the right type.

    One that run.json doesn't know yet has its default; where that moves labels the run's fingerprint refuses it.
    """
    fix = "Run the same `maskmill label` again instead, with the version that run.json names."
    if not isinstance(recorded, dict):
        raise UsageError(f"{shown} isn't there. {fix}")
    known = {field.name for field in fields(kind)}
    if unknown := sorted(recorded.keys() - known):
        raise UsageError(f"{shown}.{unknown[0][:60]} is unknown to this maskmill. {fix}")
    hints = get_type_hints(kind)
    for name, value in recorded.items():
        if not _fits(value, hints[name]):
            raise UsageError(f"{shown}.{name}: {str(value)[:40]!r} isn't a value of it. Restore run.json from a copy.")
    return kind(**{**recorded, **anew})


def kept(output: Output, asked: Sequence[Shard], now: Status) -> list[tuple[str, str]]:
    """Done shards that were to be labeled again, couldn't be, and keep the labels they had: URL, and why.

    Args:
        output: the run.
        asked: what was to be labeled.
        now: where the run stands after that.
    """
    names = {shard.url: shard.label_name for shard in asked if shard.replace}
    # The job took their rows out of the ledger: what has no start was read off a label file that is still the old one.
    old = [row.url for row in now.of(names).rows("done") if row.started is None]
    records = [(url, output.read_json(output.failed(names[url]))) for url in old]
    return [(url, str((record or {}).get("error", "the job ended before it"))) for url, record in records]


def _fits(value: object, hint: Any) -> bool:
    """Whether a JSON value is one of an option's type."""
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin in (UnionType, Union):
        return any(_fits(value, one) for one in get_args(hint))
    if hint in (None, NoneType):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)
