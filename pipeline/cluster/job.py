"""One `label` from its shards to its summary: identity, manifest, replicas, ledger. Doing it again resumes it."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

from maskmill.models.errors import EnvironmentFailure
from maskmill.pipeline import run
from maskmill.pipeline.cluster import session
from maskmill.pipeline.cluster.labeling import label_shards
from maskmill.pipeline.cluster.replica import ReplicaSpec, clean_nodes, prepare
from maskmill.pipeline.config import LabelConfig
from maskmill.pipeline.labeling.begin import JobResult, begin
from maskmill.pipeline.labeling.placement import joins, place
from maskmill.pipeline.labeling.preflight import Work
from maskmill.pipeline.ledger.parts import LedgerParts
from maskmill.pipeline.ledger.status import settle
from maskmill.pipeline.output import Output
from maskmill.pipeline.progress import LabelProgress
from maskmill.pipeline.retry import forget
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.steps import Steps
from maskmill.pipeline.stores import stores
from maskmill.pipeline.stores.names import local_name


def label(work: Work, config: LabelConfig, output: Output, steps: Steps) -> JobResult:
    """Label what isn't done yet and settle the ledger.

    Args:
        work: what `preflight` found.
        config: the run's configuration.
        output: its OUT.
        steps: says what is being done.

    Raises:
        UsageError: OUT holds another run, a checkpoint is wrong, a device isn't there.
        EnvironmentFailure: Ray or the store failed. A job that ended early comes back with what it did.
        KeyboardInterrupt: Ctrl-C; the ledger holds what had ended.
    """
    with ExitStack() as opened:
        opened.enter_context(session.session(steps))
        placement = place(session.nodes(), config.replica, device=config.model.device, may_grow=joins())
        config.decoding.refuse_without_gpu(placement.device)
        here = _absolute(config)
        steps(f"loading {config.model.model}")
        text = prepare(here, placement, output, work.vocabulary, work.templates)
        identity = begin(work.shards, config, output, work.vocabulary, text)
        done = output.done()
        todo = [shard for shard in work.shards if shard.replace or shard.label_name not in done]
        forget(output, [shard.url for shard in todo if shard.replace])
        spec = ReplicaSpec(
            config=here,
            placement=placement,
            output=output,
            vocabulary=work.vocabulary,
            text=text,
            fingerprint=identity.fingerprint,
            stores=stores.used(),
        )
        rows, stopped, ours = LedgerParts(output), None, True
        try:
            if todo:
                steps.clear()
                _run(todo, spec, rows, already_done=len(work.shards) - len(todo))
        except run.AnotherRunError:
            ours = False
            raise
        except EnvironmentFailure as error:
            stopped = error
        finally:
            if ours:
                seconds = rows.seconds
                steps("merging the ledger", logged=False)
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
    """Label shards, and leave their rows in the ledger's parts, also when it ends early.

    Raises:
        AnotherRunError: OUT holds another run by now, whose ledger isn't ours to write.
    """
    try:
        with LabelProgress(len(todo), already_done=already_done) as progress:
            for row in label_shards(todo, spec, sweeping=progress.sweep):
                if row.reason == "other_run":
                    run.confirm(spec.output, spec.fingerprint)
                rows.add(row)
                progress.add(row)
    except run.AnotherRunError:
        rows.discard()
        raise
    finally:
        rows.write()
