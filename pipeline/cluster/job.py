"""One `label` from its shards to its summary: identity, manifest, replicas, ledger. Doing it again resumes it."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from models.vocabulary.templates import load_templates
from models.zoo import MODELS
from pipeline import ledger, manifest, parquet, run
from pipeline.cluster import session
from pipeline.cluster.labeling import label_shards
from pipeline.cluster.replica import ReplicaSpec, prepare
from pipeline.config import LabelConfig
from pipeline.ledger import LedgerRow
from pipeline.output import Output
from pipeline.placement import place
from pipeline.planning import refuse_another_run, vocabulary_of
from pipeline.progress import LabelProgress
from pipeline.shard import Shard
from pipeline.status import Status, settle
from pipeline.vocabulary_table import to_table

PART_SECONDS = 120.0
"""Time between parts of the ledger."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobResult:
    """What one `label` did."""

    status: Status
    """Where the whole run stands now."""

    ended: tuple[LedgerRow, ...]
    """Rows of the shards that ended in this job, labeled or failed."""

    seconds: float
    """From the start of the first shard to the end of the last; replicas' start is not in it."""


def check(config: LabelConfig, output: Output) -> None:
    """Find what can be found to be wrong before Ray starts and a model is loaded, so that it is told at once.

    Raises:
        UsageError: a wrong vocabulary, a run in OUT that differs; on a cluster of one also a device that isn't there or
            replicas that don't fit.
    """
    refuse_another_run(config, output)
    if not session.joins():
        place([session.local_node()], config.replica, device=config.model.device)


def label(shards: Sequence[Shard], config: LabelConfig, output: Output) -> JobResult:
    """Label what isn't done yet and settle the ledger.

    Raises:
        UsageError: OUT holds another run, a checkpoint is wrong, a device isn't there.
        EnvironmentFailure: Ray, the store or the job failed.
        KeyboardInterrupt: Ctrl-C; the ledger holds what had ended.
    """
    vocabulary = vocabulary_of(config)
    templates = load_templates(config.vocabulary.templates)
    with ExitStack() as opened:
        opened.enter_context(session.session())
        placement = place(session.nodes(), config.replica, device=config.model.device)
        text = prepare(config, placement, output, vocabulary, templates)
        identity = run.identity(
            config,
            rule=MODELS[config.model.model].rule,
            weights=text.weights,
            vocabulary=text.vocabulary,
            templates=text.templates,
            text_features=text.hash,
        )
        run.record(output, identity, config)
        parquet.write(to_table(vocabulary), output.vocabulary)
        manifest.add(output, shards)
        done = output.done()
        todo = [shard for shard in shards if shard.label_name not in done]
        spec = ReplicaSpec(
            config=config,
            placement=placement,
            output=output,
            vocabulary=vocabulary,
            text=text,
            fingerprint=identity.fingerprint,
        )
        ended: list[LedgerRow] = []
        try:
            if todo:
                _run(todo, spec, ended, already_done=len(shards) - len(todo))
        finally:
            seconds = _seconds_since_first(ended)
            now = settle(output)
    return JobResult(status=now, ended=tuple(ended), seconds=seconds)


def _seconds_since_first(ended: Sequence[LedgerRow]) -> float:
    started = [row.started for row in ended if row.started is not None]
    return (datetime.now(UTC) - min(started)).total_seconds() if started else 0.0


def _run(todo: Sequence[Shard], spec: ReplicaSpec, ended: list[LedgerRow], *, already_done: int) -> None:
    """Label shards, and leave their rows in the ledger's parts, also when it ends early."""
    written, wrote = 0, time.monotonic()
    try:
        with LabelProgress(len(todo), already_done=already_done) as progress:
            for row in label_shards(todo, spec):
                ended.append(row)
                progress.add(row)
                if time.monotonic() - wrote >= PART_SECONDS:
                    ledger.write(ended[written:], spec.output.ledger_part(ledger.part_name()))
                    written, wrote = len(ended), time.monotonic()
    finally:
        if ended[written:]:
            ledger.write(ended[written:], spec.output.ledger_part(ledger.part_name()))
