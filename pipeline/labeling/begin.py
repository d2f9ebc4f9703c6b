"""How a job begins: its run is put on record. And the whole of a job that has no shard to label: no model, no Ray."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from maskmill.models.errors import EnvironmentFailure
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.templates import templates_hash
from maskmill.models.zoo import MODELS
from maskmill.pipeline import parquet, run
from maskmill.pipeline.config import LabelConfig
from maskmill.pipeline.labeling.preflight import Work
from maskmill.pipeline.ledger.failure import attempts, recorded
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.ledger.parts import LedgerParts
from maskmill.pipeline.ledger.status import Status, settle
from maskmill.pipeline.ledger.tolerance import Failures, TooManyFailedError
from maskmill.pipeline.output import Output
from maskmill.pipeline.retry import forget
from maskmill.pipeline.run import Identity
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.shards.planning import weights_hash
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.table.vocabulary_table import to_table
from maskmill.pipeline.text import TextIdentity


@dataclass(frozen=True, kw_only=True, slots=True)
class JobResult:
    """What one `label` did."""

    status: Status
    """Where the whole run stands now."""

    images: int
    """Samples of the shards that ended in this job, labeled or failed."""

    seconds: float
    """From the start of the first shard to the end of the last; replicas' start is not in it."""

    stopped: EnvironmentFailure | None
    """Why the job ended before its shards did; None if it didn't."""


def begin(
    shards: Sequence[Shard], config: LabelConfig, output: Output, vocabulary: Vocabulary, text: TextIdentity
) -> Identity:
    """Put a run and what it was asked for on record: run.json, the vocabulary, the manifest.

    Raises:
        UsageError: OUT holds another run.
        AnotherRunError: it has come to hold another one meanwhile; as far as that was seen, nothing of it is replaced.
    """
    identity = run.identity(
        config,
        rule=MODELS[config.model.model].rule_with(config.inference.windows),
        weights=text.weights,
        vocabulary=text.vocabulary,
        templates=text.templates,
        text_features=text.hash,
    )
    run.record(output, identity, config)
    # Where a store has no conditional writes, another job's run.json may have replaced this one: before the vocabulary
    # that stands there is the other's, and again after it.
    run.confirm(output, identity.fingerprint)
    parquet.write(to_table(vocabulary), output.vocabulary)
    manifest.add(output, shards)
    run.confirm(output, identity.fingerprint)
    return identity


def end_without_model(work: Work, config: LabelConfig, output: Output) -> JobResult:
    """A whole job of which no shard can be labeled: those that are left fail, and the ledger is merged.

    Args:
        work: what `preflight` found; it needs no model.
        config: the run's configuration.
        output: its OUT.

    Raises:
        UsageError: OUT holds another run, or the checkpoint is wrong.
        EnvironmentFailure: a store failed, that of the weights where run.json doesn't tell their hash.
    """
    assert not work.needs_model, "there is a shard to label"
    text = TextIdentity(
        vocabulary=work.vocabulary.hash,
        classes=len(work.vocabulary),
        templates=templates_hash(work.templates),
        model=config.model.model,
        weights=work.weights or _weights_hash(config, output),
        dtype=config.model.dtype,
    )
    begin(work.shards, config, output, work.vocabulary, text)
    forget(output, [shard.url for shard in work.todo if shard.replace])
    tried = attempts(output, work.todo)
    failures = Failures(config.job.max_failed_shards, known=frozenset(tried))
    rows, stopped = LedgerParts(output), None
    try:
        for shard in work.todo:
            row = _failed(shard, str(work.unreadable[shard.url]), output, attempt=1 + tried.get(shard.url, 0))
            rows.add(row)
            failures.add(row.url, row.error)
    except TooManyFailedError as error:
        stopped = error
    finally:
        rows.write()
    return JobResult(status=settle(output), images=0, seconds=0.0, stopped=stopped)


def _failed(shard: Shard, error: str, output: Output, *, attempt: int) -> LedgerRow:
    now = datetime.now(UTC)
    row = LedgerRow(
        url=shard.url,
        size=shard.size,
        etag=shard.etag,
        state="failed",
        error=error,
        replica=f"{socket.gethostname()}:{os.getpid()}",
        started=now,
        ended=now,
    )
    return recorded(row, shard, output, attempt=attempt)


def _weights_hash(config: LabelConfig, output: Output) -> str:
    """The hash of the weights: of a local file, which may have been replaced under its name; else what run.json says,
    where it names the same weights.
    """
    if (local := weights_hash(config)) is not None:
        return local
    there = run.read(output)
    if there is not None:
        named = config.model.weights
        settings: Any = there.get("config")
        before = settings.get("model") if isinstance(settings, dict) else None
        if isinstance(before, dict) and before.get("weights") == (None if named is None else redact(named)):
            return str(there["identity"].get("weights"))
    from maskmill.models import checking  # with it comes torch

    return checking.weights_hash(config.model.model, config.model.weights)
