"""Prepares a DenseCLIP's training: its start, its classes, its data. The loop is run.py's."""

from dataclasses import asdict, replace

import numpy as np
import torch

from maskmill.models import checkpoint, zoo
from maskmill.models.denseclip.config import DenseClipConfig
from maskmill.models.denseclip.initial import initial
from maskmill.models.denseclip.names import check_names
from maskmill.models.denseclip.segmenter import DenseClipSegmenter
from maskmill.models.errors import UsageError
from maskmill.models.segmenter import ClassFeatures
from maskmill.models.training.recipe import Recipe
from maskmill.models.training.student import StudentTraining
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.templates import DEFAULT_TEMPLATES
from maskmill.pipeline.evaluation.groups import groups_of
from maskmill.pipeline.training.config import Identity, StartConfig, TrainConfig
from maskmill.pipeline.training.data import TrainingData
from maskmill.pipeline.training.examples import Examples
from maskmill.pipeline.training.student_data import StudentData
from maskmill.pipeline.training.work import Work, with_fingerprint

CLIP_WEIGHTS = {
    "denseclip-rn50": "hf://timm/resnet50_clip.openai/open_clip_model.safetensors",
    "denseclip-rn101": "hf://timm/resnet101_clip.openai/open_clip_model.safetensors",
    "denseclip-vit-b": "hf://timm/vit_base_patch16_clip_224.openai/open_clip_model.safetensors",
    "denseclip-tiny": zoo.MODELS["san-tiny"].default_weights,
}
"""What a student starts from by default: OpenAI's CLIP under open_clip's names; the CLIP in the bundled SAN."""


def prepared_student(config: TrainConfig, examples: Examples, device: torch.device) -> Work:
    """A DenseCLIP at the start of its training.

    Raises:
        UsageError: options that are a SAN's, names that it can't read, weights that don't fit.
        EnvironmentFailure: weights can't be fetched.
    """
    name, recipe, data = config.model, config.recipe, config.data
    spec = zoo.MODELS[name]
    vocabulary = examples.vocabulary
    sizes, source = student_start(config, vocabulary)
    state, origin = initial(sizes, checkpoint.load(source, option="--init"), seed=recipe.seed, source=source)
    segmenter = zoo.build(
        sizes, state, name=name, rule=spec.rule, device=device, dtype=config.start.dtype, source=source
    )
    assert isinstance(segmenter, DenseClipSegmenter)
    groups = groups_of(vocabulary, data.leave_out)
    ids = np.array([-1 if entry.name in data.leave_out else entry.vocab_id for entry in vocabulary], np.int32)
    if (ids < 0).all():
        raise UsageError("--leave-out: names every class. Leave some to learn.")
    augmentation = data.augmentation(sizes.image.image_size, multiple=sizes.size_divisibility)
    found = StudentData(
        data=TrainingData(
            pairs=examples.pairs, ids=ids, augmentation=augmentation, recipe=recipe, limits=examples.limits
        ),
        soft=config.student.soft_targets,
        weighed=config.student.weigh_by_score,
    )
    warmup = config.student.rise(recipe.steps)
    identity: Identity = {
        "model": name,
        "start": segmenter.weights,
        "origin": origin,
        "dtype": config.start.dtype,
        "recipe": {option: value for option, value in asdict(recipe).items() if option != "clip_norm"},
        "warmup": warmup,
        "soft_targets": config.student.soft_targets,
        "weigh_by_score": config.student.weigh_by_score,
        "vocabulary": vocabulary.hash,
        "truth_ids": data.truth_ids,
        "leave_out": sorted(data.leave_out),
        "augmentation": asdict(augmentation),
        **examples.identity,
    }
    tokens = segmenter.tokenize(vocabulary.names)

    def classes() -> ClassFeatures:
        # Contexts and batch norms have moved since the last time.
        segmenter.model.eval()
        return segmenter.classes(vocabulary).to(device)

    return Work(
        segmenter=segmenter,
        training=lambda ranks: StudentTraining(
            segmenter.model, tokens, recipe, warmup=warmup, dtype=config.start.dtype, ranks=ranks
        ),
        batches=found.batches,
        classes=classes,
        groups=groups,
        identity=with_fingerprint(identity),
    )


def student_start(config: TrainConfig, vocabulary: Vocabulary) -> tuple[DenseClipConfig, str]:
    """Sizes of the DenseCLIP that trains, and where it starts from; nothing is loaded.

    Raises:
        UsageError: options that are a SAN's, names that it can't read.
    """
    _only_a_students(config)
    sizes = zoo.MODELS[config.model].config
    assert isinstance(sizes, DenseClipConfig), "--student was checked"
    sizes = replace(sizes, num_classes=len(vocabulary))
    check_names(vocabulary, sizes, model=config.model)
    source = config.start.init or CLIP_WEIGHTS[config.model]
    assert source is not None, "each student has a CLIP"
    return sizes, source


def _only_a_students(config: TrainConfig) -> None:
    """Refuse options that say something of a SAN alone."""
    wrong = {
        f"--model {config.start.model!r}": config.start.model not in (StartConfig().model, config.model),
        f"--templates {config.data.templates!r}": config.data.templates not in (DEFAULT_TEMPLATES, "bare"),
        f"--clip-norm {config.recipe.clip_norm}": config.recipe.clip_norm != Recipe().clip_norm,
    }
    for shown, bad in wrong.items():
        if bad:
            raise UsageError(f"{shown}: says nothing of --student {config.model}. Leave it out.")
