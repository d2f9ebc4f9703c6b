"""One `label` from its shards to its summary: identity, manifest, replicas, ledger. Doing it again resumes it."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

from maskmill.models.errors import EnvironmentFailure
from maskmill.models.vocabulary.templates import load_templates
from maskmill.models.zoo import MODELS
from maskmill.pipeline import parquet, run
from maskmill.pipeline.cluster import session
from maskmill.pipeline.cluster.labeling import label_shards
from maskmill.pipeline.cluster.replica import ReplicaSpec, clean_nodes, prepare
from maskmill.pipeline.config import LabelConfig
from maskmill.pipeline.labeling.placement import place
from maskmill.pipeline.ledger.parts import LedgerParts
from maskmill.pipeline.ledger.status import Status, settle
from maskmill.pipeline.output import Output
from maskmill.pipeline.progress import LabelProgress
from maskmill.pipeline.retry import forget
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.shards.planning import refuse_another_run, vocabulary_of
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores import stores
from maskmill.pipeline.stores.names import local_name
from maskmill.pipeline.table.vocabulary_table import to_table


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


def check(config: LabelConfig, output: Output) -> None:
    """Find what can be found to be wrong before Ray starts and a model is loaded, so that it is told at once.

    Raises:
        UsageError: a wrong vocabulary, a run in OUT that differs; on a cluster of one also a device that isn't there,
            a decoder that it hasn't, or replicas that don't fit.
    """
    refuse_another_run(config, output)
    if not session.joins():
        placement = place([session.local_node()], config.replica, device=config.model.device)
        config.decoding.refuse_without_gpu(placement.device)


def label(shards: Sequence[Shard], config: LabelConfig, output: Output) -> JobResult:
    """Label what isn't done yet and settle the ledger.

    Raises:
        UsageError: OUT holds another run, a checkpoint is wrong, a device isn't there.
        EnvironmentFailure: Ray or the store failed. A job that ended early comes back with what it did.
        KeyboardInterrupt: Ctrl-C; the ledger holds what had ended.
    """
    vocabulary = vocabulary_of(config)
    templates = load_templates(config.templates)
    with ExitStack() as opened:
        opened.enter_context(session.session())
        placement = place(session.nodes(), config.replica, device=config.model.device, may_grow=session.joins())
        config.decoding.refuse_without_gpu(placement.device)
        here = _absolute(config)
        text = prepare(here, placement, output, vocabulary, templates)
        identity = run.identity(
            config,
            rule=MODELS[config.model.model].rule_with(config.inference.windows),
            weights=text.weights,
            vocabulary=text.vocabulary,
            templates=text.templates,
            text_features=text.hash,
        )
        run.record(output, identity, config)
        parquet.write(to_table(vocabulary), output.vocabulary)
        manifest.add(output, shards)
        done = output.done()
        todo = [shard for shard in shards if shard.replace or shard.label_name not in done]
        forget(output, [shard.url for shard in todo if shard.replace])
        spec = ReplicaSpec(
            config=here,
            placement=placement,
            output=output,
            vocabulary=vocabulary,
            text=text,
            fingerprint=identity.fingerprint,
            stores=stores.used(),
        )
        rows, stopped = LedgerParts(output), None
        try:
            if todo:
                _run(todo, spec, rows, already_done=len(shards) - len(todo))
        except EnvironmentFailure as error:
            stopped = error
        finally:
            seconds = rows.seconds
            now = settle(output)
            with suppress(Exception):  # whatever Ray says by now, the run is settled
                clean_nodes(here.replica.scratch)
    return JobResult(status=now, images=rows.images, seconds=seconds, stopped=stopped)


def _absolute(config: LabelConfig) -> LabelConfig:
    """The same job, its local files named so that a replica finds them: it has a working directory of its own."""
    weights = config.model.weights
    if weights is not None:
        weights = local_name(weights) or weights
    scratch = config.replica.scratch.absolute()
    return replace(
        config, model=replace(config.model, weights=weights), replica=replace(config.replica, scratch=scratch)
    )


def _run(todo: Sequence[Shard], spec: ReplicaSpec, rows: LedgerParts, *, already_done: int) -> None:
    """Label shards, and leave their rows in the ledger's parts, also when it ends early."""
    try:
        with LabelProgress(len(todo), already_done=already_done) as progress:
            for row in label_shards(todo, spec, sweeping=progress.sweep):
                rows.add(row)
                progress.add(row)
    finally:
        rows.write()
