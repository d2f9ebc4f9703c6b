"""What of a `train` is wrong, found before Ray starts and weights are loaded. Writes nothing."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from maskmill.models import checkpoint, zoo
from maskmill.models.denseclip.initial import initial as denseclip_initial
from maskmill.models.errors import UsageError
from maskmill.models.families import family_of
from maskmill.models.san.initial import initial as san_initial
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.templates import load_templates
from maskmill.pipeline.evaluation.groups import groups_of
from maskmill.pipeline.labeling.placement import Node, joins, local_node
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.first_bytes import refuse_unreadable
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run
from maskmill.pipeline.training.config import TrainConfig
from maskmill.pipeline.training.run import san_start
from maskmill.pipeline.training.student import student_start
from maskmill.pipeline.truth.pairs import sources_of


def preflight(config: TrainConfig) -> None:
    """Check a training as far as is possible without Ray, weights and images.

    On a cluster that is joined, its machines may have files and devices that this one hasn't.

    Raises:
        UsageError: shards that aren't there or are no archives, no run with labels, wrong names or templates, weights
            that don't fit; where no cluster is joined also a device that isn't there, or workers that don't fit.
        EnvironmentFailure: a store doesn't answer.
    """
    for arguments in (config.shards, config.validation):
        if arguments:
            refuse_unreadable(sources_of(arguments))
    if config.labels is None:
        vocabulary = Vocabulary.load(config.data.vocab or zoo.MODELS[config.model].default_vocabulary)
    else:
        vocabulary = vocabulary_of_run(Output.of(config.labels))
    groups_of(vocabulary, config.data.leave_out)
    if not joins():
        zoo.pick_device(config.start.device)
        if config.job.workers > 1:
            worker_resources(config, [local_node()])
    _check_start(config, vocabulary)


def _check_start(config: TrainConfig, vocabulary: Vocabulary) -> None:
    spec = zoo.MODELS[config.model]
    if config.student.model:
        sizes, source = student_start(config, vocabulary)
        config.data.augmentation(sizes.image.image_size, multiple=sizes.size_divisibility)
        if (state := _headers(source)) is not None:
            denseclip_initial(sizes, state, seed=config.recipe.seed, source=source)
        return
    san, source = san_start(config)
    config.data.augmentation(spec.short_side, multiple=san.size_divisibility)
    if (state := _headers(source)) is not None:
        san_initial(san, state, seed=config.recipe.seed, source=source)
    family_of(san).check_text(vocabulary, load_templates(config.data.templates), model=config.model)


def _headers(source: str) -> dict[str, Tensor] | None:
    if joins() and "://" not in source and not Path(source).is_file():
        return None  # it may be there on the cluster's machines
    return checkpoint.headers(source, option="--init")


def worker_resources(config: TrainConfig, nodes: Sequence[Node]) -> Node:
    """CPUs and GPUs of one worker.

    Args:
        config: the training.
        nodes: the cluster's machines as they are now.

    Raises:
        UsageError: more workers than there is room for.
    """
    workers = config.job.workers
    gpus, cpus = sum(node.gpus for node in nodes), sum(node.cpus for node in nodes)
    gpu = config.start.device == "cuda" or (config.start.device == "auto" and gpus > 0)
    if gpu and gpus < workers:
        raise UsageError(f"--workers {workers}: the cluster has {gpus} GPUs. Take fewer workers, or --device cpu.")
    # Ray Train's own controller declares no CPU, so that workers may have them all.
    each = config.job.cpus_per_worker or max(1, cpus // workers)
    if each * workers > cpus:
        raise UsageError(f"--workers {workers} of {each} CPUs: the cluster has {cpus}. Take fewer of either.")
    return Node(cpus=each, gpus=int(gpu))
