"""`maskmill train`: from the words of a command line to a training, on one device or on Ray Train."""

import os
import sys
from typing import Annotated

from cyclopts import Parameter

from models.errors import UsageError
from models.training.recipe import Recipe
from pipeline.training.config import DataConfig, StartConfig, TrainConfig, TrainJobConfig

_Flat = Parameter(name="*")


def train(
    *shards: str,
    output: Annotated[str, Parameter(name=["--output", "-o"])],
    validation: list[str] | None = None,
    start: Annotated[StartConfig, _Flat] = StartConfig(),
    data: Annotated[DataConfig, _Flat] = DataConfig(),
    recipe: Annotated[Recipe, _Flat] = Recipe(),
    job: Annotated[TrainJobConfig, _Flat] = TrainJobConfig(),
) -> int:
    """Train a SAN on images with ground truth: side adapter, background, CLIP's position embedding; the rest is frozen.

    The same command resumes from the last checkpoint. The defaults are the published recipe, for COCO-Stuff. What comes
    out, OUTPUT/model.safetensors, is what `label --weights` and `evaluate --weights` take; OUTPUT/events is for
    TensorBoard.

    Args:
        shards: tar files whose samples have a seg.png (a class id a pixel; 255 means not labeled); or folders with
            images/ and annotations/*.png of the same names.
        output: folder of the training; all workers must see it.
        validation: images with ground truth that are scored while it trains: shards or folders, once each.
        start: the model and its start.
        data: classes and crops.
        recipe: steps, rates, seed.
        job: workers and intervals.
    """
    from models.zoo import MODELS
    from pipeline.training.output import TrainOutput
    from pipeline.training.progress import Following

    if start.model not in MODELS:
        raise UsageError(f"--model {start.model!r}: no such model; models are {', '.join(MODELS)}.")
    if not shards:
        raise UsageError("SHARDS: none given. Expected tar files, globs, or a folder with images/ and annotations/.")
    config = TrainConfig(
        shards=shards, validation=tuple(validation or ()), start=start, data=data, recipe=recipe, job=job
    )
    target = TrainOutput.of(output)
    with Following(target.log, recipe.steps):
        # One worker needs no Ray, but where a cluster is named it is meant.
        if job.workers == 1 and not os.environ.get("RAY_ADDRESS"):
            from pipeline.training.run import on_one_device

            on_one_device(config, target)
        else:
            from pipeline.cluster.training import train_on_ray

            train_on_ray(config, target)
    print(f"weights   {target.model}")
    return 0


if __name__ == "__main__":
    from jobs.cli import run

    raise SystemExit(run(["train", *sys.argv[1:]]))
