"""With what a run's shards are labeled again: run.json's own configuration. Which they are is retry_choice.py's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maskmill.models.errors import UsageError
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
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.status import Status, settle
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.decoding import DecodingConfig
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores.publish import publish
from maskmill.pipeline.stores.urls import redact

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
