"""`maskmill train`: from the words of a command line to a training, on one device or on Ray Train."""

import sys
from typing import Annotated

from cyclopts import Parameter

from maskmill.jobs.places import check_folder
from maskmill.models.errors import UsageError
from maskmill.models.training.recipe import Recipe
from maskmill.pipeline.steps import Steps
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.terminal import print_lines
from maskmill.pipeline.training.config import DataConfig, StartConfig, StudentConfig, TrainConfig, TrainJobConfig

_Flat = Parameter(name="*")


def train(
    *shards: str,
    output: Annotated[str, Parameter(name=["--output", "-o"])],
    labels: str | None = None,
    shards_at: list[str] | None = None,
    more_shards: Annotated[list[str] | None, Parameter(name="--shards", consume_multiple=True)] = None,
    validation: list[str] | None = None,
    start: Annotated[StartConfig, _Flat] = StartConfig(),
    data: Annotated[DataConfig, _Flat] = DataConfig(),
    keep: Annotated[SegmentFilter, _Flat] = SegmentFilter(),
    student: Annotated[StudentConfig, _Flat] = StudentConfig(),
    recipe: Annotated[Recipe, _Flat] = Recipe(),
    job: Annotated[TrainJobConfig, _Flat] = TrainJobConfig(),
) -> int:
    """Train a SAN on ground truth or labels: side adapter, background, CLIP's position embedding; the rest is frozen.
    With --student, a DenseCLIP: all but its text encoder.

    The same command resumes from the last checkpoint. The defaults are the published recipe, for COCO-Stuff. What comes
    out, OUTPUT/model.safetensors, is what `label --weights` and `evaluate --weights` take; OUTPUT/events is for
    TensorBoard.

    Args:
        shards: tar files whose samples have a seg.png (a class id a pixel; 255 means not labeled); or folders with
            images/ and annotations/*.png of the same names. With --labels, shards that were labeled; all by default.
        output: folder of the training; all workers must see it.
        labels: learn from the labels of this run, --output of a `label`, instead of from ground truth. Segments that
            the filter drops (--min-score and its like) teach nothing: no loss looks at their pixels.
        shards_at: OLD=NEW, with --labels: shards that were labeled below OLD, a folder or URL, lie below NEW now.
        more_shards: the same as SHARDS.
        validation: images with ground truth that are scored while it trains: shards or folders, once each.
        start: the model and its start.
        data: classes and crops.
        keep: which labels count.
        student: a DenseCLIP to train, and how labels teach it.
        recipe: steps, rates, seed.
        job: workers and intervals.
    """
    from maskmill.models.zoo import spec_of

    check_folder("--output", output)
    spec_of(start.model)
    shards = (*shards, *(more_shards or ()))
    if not shards and labels is None:
        raise UsageError("SHARDS: none given. Expected tar files, globs, or a folder with images/ and annotations/.")
    if shards_at and labels is None:
        raise UsageError("--shards-at: expected with --labels, whose shards were moved. Leave it out.")
    config = TrainConfig(
        shards=shards,
        labels=labels,
        shards_at=tuple(shards_at or ()),
        keep=keep,
        validation=tuple(validation or ()),
        start=start,
        data=data,
        student=student,
        recipe=recipe,
        job=job,
    )
    with Steps() as steps:
        steps("checking images and weights", logged=False)
        from maskmill.pipeline.labeling.placement import joins
        from maskmill.pipeline.training.output import TrainOutput
        from maskmill.pipeline.training.preflight import preflight
        from maskmill.pipeline.training.progress import Following

        target = TrainOutput.of(output)
        preflight(config)
        with Following(target.log, recipe.steps, steps):
            # One worker needs no Ray, but where a cluster is named it is meant; a training that is done needs none.
            if (job.workers == 1 and not joins()) or target.is_finished(recipe.steps):
                from maskmill.pipeline.training.run import on_one_device

                steps(f"loading {config.model}", logged=False)
                on_one_device(config, target)
            else:
                steps("starting Ray")
                from maskmill.pipeline.cluster.training import train_on_ray

                train_on_ray(config, target, steps)
    print_lines(f"weights   {target.model}")
    return 0


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["train", *sys.argv[1:]])
