"""One worker's part of a `train`: data in; updates, logs, checkpoints and trained weights out. With or without Ray."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from maskmill.models import checkpoint, zoo
from maskmill.models.errors import UsageError
from maskmill.models.san.config import SanConfig
from maskmill.models.san.initial import initial
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.training.loop import StepReport, Training
from maskmill.models.training.ranks import ALONE, Ranks
from maskmill.models.vocabulary.templates import load_templates, templates_hash
from maskmill.pipeline.config import machine_cpus
from maskmill.pipeline.evaluation.groups import groups_of
from maskmill.pipeline.training.config import Identity, TrainConfig
from maskmill.pipeline.training.data import TrainingData
from maskmill.pipeline.training.events import EventFile
from maskmill.pipeline.training.examples import Examples, examples_of
from maskmill.pipeline.training.output import TrainLog, TrainOutput
from maskmill.pipeline.training.student import prepared_student
from maskmill.pipeline.training.validation import validate
from maskmill.pipeline.training.work import Trains, Work, with_fingerprint
from maskmill.pipeline.truth.pairs import sources_of

CLIP_WEIGHTS = {
    "san-vit-b16": "hf://timm/vit_base_patch16_clip_224.openai/open_clip_model.safetensors",
    "san-vit-l14": "hf://timm/vit_large_patch14_clip_336.openai/open_clip_model.safetensors",
}
"""OpenAI's CLIP as open_clip names its tensors: what a model starts from by default."""

Tell = Callable[[StepReport], None]
"""Hears of every logged update, on every worker."""


def train(
    config: TrainConfig,
    output: TrainOutput,
    *,
    device: torch.device,
    threads: int,
    ranks: Ranks = ALONE,
    tell: Tell | None = None,
) -> None:
    """Train until the recipe's last step, going on from OUT's checkpoint if there is one; rank 0 writes all files.

    Raises:
        UsageError: wrong data, weights or names; OUT holds another training.
        EnvironmentFailure: weights or shards can't be fetched, or OUT can't be written.
    """
    _arithmetic(config)
    with ExitStack() as opened:
        vocabulary = zoo.MODELS[config.model].default_vocabulary
        examples = examples_of(config, vocabulary, opened)
        work = (prepared_student if config.student.model else _prepared)(config, examples, device)
        held_out = sources_of(config.validation) if config.validation else []
        training = work.training(ranks)
        output.record(work.identity, write=ranks.rank == 0)
        _resume(training, output, work.identity)
        writer = opened.enter_context(_Writer(output, config, work.identity, training.step, writes=ranks.rank == 0))
        batches = opened.enter_context(work.batches(ranks, first=training.step, threads=threads))
        while training.step < config.recipe.steps:
            report = _advanced(training, next(batches), config)
            if writer.updated(report) and tell is not None:
                tell(report)
            last = report.step == config.recipe.steps
            if held_out and (last or report.step % config.job.validate_every == 0):
                scores = validate(
                    held_out,
                    work.segmenter,
                    work.classes(),
                    work.groups,
                    ranks=ranks,
                    truth_ids=config.data.truth_ids,
                    batch_size=config.job.validation_batch,
                    scratch=config.job.scratch,
                )
                writer.validated(report.step, scores)
            # After the validation, so that a resumed training doesn't owe one.
            writer.kept(training)
        if ranks.rank == 0:
            output.save_model(training.model)


def _advanced(training: Trains, batch: Any, config: TrainConfig) -> StepReport:
    try:
        return training.advance(batch)
    except FloatingPointError as error:
        raise UsageError(
            f"--learning-rate {config.recipe.learning_rate}: the training came apart ({error}). "
            "Lower it or --clip-norm, and start again."
        ) from error


def _resume(training: Trains, output: TrainOutput, identity: Identity) -> None:
    """Go on from OUT's checkpoint, if there is one."""
    state = output.load()
    if state is None:
        return
    try:
        if state.get("identity") != identity["fingerprint"]:
            raise ValueError("another training's")
        training.restore(state)
    except (ValueError, KeyError, RuntimeError) as error:
        raise UsageError(
            f"{output.checkpoint}: doesn't fit this training: {error}. Remove it to start again."
        ) from error


def _arithmetic(config: TrainConfig) -> None:
    if config.job.deterministic:
        # What cuBLAS needs to be so; read when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


def _prepared(config: TrainConfig, examples: Examples, device: torch.device) -> Work:
    start, data = config.start, config.data
    spec = zoo.MODELS[start.model]
    sizes, source = san_start(config)
    state, _ = initial(sizes, checkpoint.load(source, option="--init"), seed=config.recipe.seed, source=source)
    segmenter = zoo.build(
        sizes, state, name=start.model, rule=spec.rule, device=device, dtype=start.dtype, source=source
    )
    assert isinstance(segmenter, SanSegmenter)
    vocabulary = examples.vocabulary
    templates = load_templates(data.templates)
    groups = groups_of(vocabulary, data.leave_out)
    kept = np.array([entry.vocab_id for entry in vocabulary if entry.name not in data.leave_out])
    if not len(kept):
        raise UsageError("--leave-out: names every class. Leave some to learn.")
    ids = np.full(len(vocabulary), -1, np.int32)
    ids[kept] = np.arange(len(kept))
    classes = segmenter.classes(vocabulary, templates).to(device)
    augmentation = data.augmentation(spec.short_side, multiple=sizes.size_divisibility)
    seen = classes.features[torch.from_numpy(kept)]
    found = TrainingData(
        pairs=examples.pairs, ids=ids, augmentation=augmentation, recipe=config.recipe, limits=examples.limits
    )
    identity: Identity = {
        "model": start.model,
        "start": segmenter.weights,
        "dtype": start.dtype,
        "recipe": asdict(config.recipe),
        "vocabulary": vocabulary.hash,
        "truth_ids": data.truth_ids,
        "leave_out": sorted(data.leave_out),
        "templates": templates_hash(templates),
        "augmentation": asdict(augmentation),
        **examples.identity,
    }
    return Work(
        segmenter=segmenter,
        training=lambda ranks: Training(segmenter.model, seen, config.recipe, dtype=start.dtype, ranks=ranks),
        batches=found.batches,
        classes=lambda: classes,
        groups=groups,
        identity=with_fingerprint(identity),
    )


def san_start(config: TrainConfig) -> tuple[SanConfig, str]:
    """Sizes of the SAN that trains, and where it starts from; nothing is loaded.

    Raises:
        UsageError: a model that is no SAN, or one that has to be given a start.
    """
    start = config.start
    sizes = zoo.MODELS[start.model].config
    if not isinstance(sizes, SanConfig):
        raise UsageError(f"--model {start.model!r}: not a SAN. A DenseCLIP is named with --student.")
    source = start.init or CLIP_WEIGHTS.get(start.model)
    if source is None:
        raise UsageError(f"--init: {start.model} has no published CLIP to start from. Name a CLIP or a SAN checkpoint.")
    return sizes, source


class _Writer:
    """Log, TensorBoard and checkpoints: rank 0 writes them, the others pass by."""

    def __init__(
        self, output: TrainOutput, config: TrainConfig, identity: Identity, step: int, *, writes: bool
    ) -> None:
        self._output, self._config = output, config
        self._fingerprint: str = identity["fingerprint"]
        self._writes = writes
        self._started, self._logged = time.perf_counter(), step
        self._opened = ExitStack()
        if writes:
            self._log = TrainLog(output.log, step)
            self._events = EventFile(output.events)
            self._opened.callback(self._log.close)
            self._opened.callback(self._events.close)

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def updated(self, report: StepReport) -> bool:
        """Log an update, if it is one that is logged; whether it is one."""
        last = report.step == self._config.recipe.steps
        if report.step % self._config.job.log_every and not last:
            return False
        if not self._writes:
            return True
        now = time.perf_counter()
        images = (report.step - self._logged) * self._config.recipe.batch_size / max(1e-9, now - self._started)
        self._started, self._logged = now, report.step
        values = {
            "total": report.total,
            **report.losses,
            "learning_rate": report.learning_rate,
            "gradient_norm": report.gradient_norm,
        }
        self._log.add({"step": report.step, **values})
        self._events.scalars(report.step, {f"train/{name}": value for name, value in values.items()})
        self._events.scalars(report.step, {"speed/images_per_second": images})
        return True

    def validated(self, step: int, mean_ious: dict[str, float]) -> None:
        """Log a validation."""
        if self._writes:
            known = {name: value for name, value in mean_ious.items() if not np.isnan(value)}
            self._log.add({"step": step, "mean_iou": known})
            self._events.scalars(step, {f"validation/mean_iou/{name}": value for name, value in known.items()})

    def kept(self, training: Trains) -> None:
        """Write a checkpoint, if one is due."""
        due = training.step % self._config.job.checkpoint_every == 0 or training.step == self._config.recipe.steps
        if self._writes and due:
            self._output.save({**training.state(), "identity": self._fingerprint})


def on_one_device(config: TrainConfig, output: TrainOutput) -> None:
    """Train in this process, on the device that the configuration names."""
    device = zoo.pick_device(config.start.device)
    threads = config.job.cpus_per_worker or max(1, machine_cpus() - 1)
    torch.set_num_threads(threads)
    train(config, output, device=device, threads=threads)
