"""`maskmill retry`: labels a run's failed shards again, and done ones that are worth it. The labeling is `label`'s."""

import sys
from typing import Annotated

from cyclopts import Parameter

from maskmill.models.errors import UsageError
from maskmill.pipeline.config import Device, JobConfig, ReplicaConfig
from maskmill.pipeline.steps import Steps
from maskmill.pipeline.terminal import print_lines

_Flat = Parameter(name="*")


def retry(
    out: str,
    /,
    *,
    failed_samples: float | None = None,
    stale: bool = False,
    shards_at: list[str] | None = None,
    weights: str | None = None,
    vocab: str | None = None,
    templates: str | None = None,
    device: Device | None = None,
    replica: Annotated[ReplicaConfig, _Flat] = ReplicaConfig(),
    job: Annotated[JobConfig, _Flat] = JobConfig(),
) -> int:
    """Label the failed and missing shards of a run again, with the run's own configuration.

    Done shards are taken only where asked for; their labels stay until the new ones replace them, also where labeling
    fails this time. Exit codes are those of `label`; 1 also if a done shard could not be labeled again.

    Args:
        out: the --output of a `maskmill label`.
        failed_samples: also take done shards with more than this share of failed samples; 0 takes all that have any.
        stale: also take done shards whose source has changed since they were labeled. Of those of the same size and
            another etag or time some images are compared, for which shards in a store are fetched.
        shards_at: OLD=NEW: shards that the run names below OLD, a folder or URL, lie below NEW now.
        weights: the run's checkpoint, where run.json doesn't tell (credentials, a path that moved).
        vocab: the run's vocabulary, likewise.
        templates: the run's templates, likewise.
        device: where replicas compute. Default: as the run was given.
        replica: replicas and their resources.
        job: what to take and when to give up.
    """
    with Steps() as steps:
        steps("looking for shards to label again", logged=False)
        from maskmill.models.vocabulary.templates import load_templates
        from maskmill.models.zoo import MODELS
        from maskmill.pipeline.ledger import summary
        from maskmill.pipeline.ledger.status import settle
        from maskmill.pipeline.output import Output
        from maskmill.pipeline.retry import Given, configuration, kept
        from maskmill.pipeline.retry_choice import choose, lines
        from maskmill.pipeline.shards import manifest
        from maskmill.pipeline.shards.moved import ShardsAt
        from maskmill.pipeline.shards.planning import refuse_another_run, vocabulary_of

        target = Output.of(out)
        given = Given(weights=weights, vocab=vocab, templates=templates, device=device)
        config = configuration(target, given=given, replica=replica, job=job)
        if config.model.model not in MODELS:
            raise UsageError(f"{target.run}: no such model as {config.model.model!r}; models are {', '.join(MODELS)}.")
        refuse_another_run(config, target, vocabulary_of(config), load_templates(config.templates))
        chosen = choose(
            target,
            failed_samples=failed_samples,
            stale=stale,
            moved=ShardsAt.parse(shards_at or ()),
            scratch=replica.scratch if replica.scratch.is_dir() else None,
            told=steps,
        )
        asked = list(chosen.shards[: job.limit])
        print_lines(*lines(chosen, target))
        if not job.dry_run:
            manifest.accept(target, chosen.same, chosen.same_as)
        if not asked:
            if not job.dry_run:
                print_lines(*summary.lines(settle(target)))
            return 0
        from maskmill.jobs.label import report, run, tell_work
        from maskmill.pipeline.labeling.preflight import preflight

        steps("checking shards, output and model", logged=False)
        work = preflight(asked, config, target)
        if job.dry_run:
            return tell_work(work, config, target)
        result = run(work, config, target, steps)
    old = kept(target, asked, result.status)
    for url, why in old:
        print_lines(f"kept      {url}  its earlier labels: {why}")
    return report(result, asked, target) or (1 if old else 0)


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["retry", *sys.argv[1:]])
