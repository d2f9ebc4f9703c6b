"""`maskmill label`: from the words of a command line to a job, and from its result to lines and an exit code."""

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from maskmill.jobs.places import check_folder
from maskmill.models.errors import UsageError
from maskmill.pipeline.config import (
    InferenceConfig,
    JobConfig,
    LabelConfig,
    ModelConfig,
    ReplicaConfig,
    VocabularyConfig,
)
from maskmill.pipeline.reading.decoding import DecodingConfig
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.steps import Steps
from maskmill.pipeline.terminal import print_error, print_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maskmill.pipeline.labeling.begin import JobResult
    from maskmill.pipeline.labeling.preflight import Work
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.shards.shard import Shard

_Flat = Parameter(name="*")


def label(
    *shards: str,
    output: Annotated[str, Parameter(name=["--output", "-o"])],
    model: Annotated[ModelConfig, _Flat] = ModelConfig(),
    vocabulary: Annotated[VocabularyConfig, _Flat] = VocabularyConfig(),
    inference: Annotated[InferenceConfig, _Flat] = InferenceConfig(),
    limits: Annotated[ReadLimits, _Flat] = ReadLimits(),
    decoding: Annotated[DecodingConfig, _Flat] = DecodingConfig(),
    replica: Annotated[ReplicaConfig, _Flat] = ReplicaConfig(),
    job: Annotated[JobConfig, _Flat] = JobConfig(),
) -> int:
    """Label shards: images in, one Parquet file of segments a shard out.

    The same command resumes: done shards are skipped, failed ones are tried again. `--config FILE.yaml` gives defaults
    for all options, named as here. Exit codes: 0 all shards done; 1 some failed or are missing; 2 wrong usage; 3 the
    environment failed; 130 interrupted; 143 terminated (129 by a closed terminal).

    Args:
        shards: tar files, directories, globs, brace ranges, @list.txt; paths or any fsspec URL (s3, gs, az, hf).
        output: folder or URL of the label table.
        model: the segmenter.
        vocabulary: the names asked about.
        inference: how masks become segments.
        limits: what is refused unread, and which members are image and caption.
        decoding: who decodes and resizes images.
        replica: replicas and their resources.
        job: what to take and when to give up.
    """
    config = LabelConfig(
        model=model,
        vocabulary=vocabulary,
        inference=inference,
        limits=limits,
        decoding=decoding,
        replica=replica,
        job=job,
    )
    config.check_model()
    if not shards:
        raise UsageError("SHARDS: none given. Expected tar files, globs, brace ranges or @list.txt.")
    check_folder("--output", output)
    with Steps() as steps:
        steps("checking shards, output and model", logged=False)
        from maskmill.pipeline.labeling.preflight import preflight
        from maskmill.pipeline.output import Output
        from maskmill.pipeline.shards.planning import shards_of

        target = Output.of(output)
        work = preflight(shards_of(shards, limit=job.limit), config, target)
        if job.dry_run:
            return tell_work(work, config, target)
        result = run(work, config, target, steps)
    return report(result, work.shards, target)


def tell_work(work: "Work", config: LabelConfig, target: "Output") -> int:
    """Print what a job would do; exit code 1 where no shard that is left could be labeled."""
    from maskmill.pipeline.labeling.preflight import dry_run

    print_lines(*dry_run(work, config, target))
    return 0 if work.needs_model or not work.todo else 1


def run(work: "Work", config: LabelConfig, target: "Output", steps: Steps) -> "JobResult":
    """Do what is to be done; Ray starts only where a shard can be labeled."""
    if not work.needs_model:
        from maskmill.pipeline.labeling.begin import end_without_model

        return end_without_model(work, config, target)
    from maskmill.pipeline.shards.planning import price_lines

    if lines := price_lines(config, len(work.vocabulary)):
        print_lines(*lines)
    steps("starting Ray")
    from maskmill.pipeline.cluster.job import label as run_job

    return run_job(work, config, target, steps)


def report(result: "JobResult", asked: "Sequence[Shard]", target: "Output") -> int:
    """Print what a job did; its exit code."""
    from maskmill.pipeline.ledger import summary
    from maskmill.pipeline.reading.errors import ENVIRONMENT_REASONS

    print_lines(*summary.lines(result.status))
    if result.images:
        rate = result.images / result.seconds
        print_lines(f"speed     {rate:,.1f} images/s ({result.images:,} images in {result.seconds:,.1f} s)")
    print_lines(f"labels    {target.labels}")
    if result.stopped is not None:
        raise result.stopped
    mine = result.status.of(shard.url for shard in asked)
    environment = next((row for row in mine.rows("failed") if row.reason in ENVIRONMENT_REASONS), None)
    if environment is not None:
        print_error(f"maskmill: {environment.url}: {environment.error}")
        return 3
    return 0 if mine.all_done else 1


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["label", *sys.argv[1:]])
