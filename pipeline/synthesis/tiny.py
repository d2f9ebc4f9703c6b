"""Builds san-tiny from a seed: a CLIP on image-text pairs of scenes, then a SAN on their masks."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskmill.models import checkpoint
from maskmill.models.architecture import Precision
from maskmill.models.clip.tokenizer import Tokenizer
from maskmill.models.san.config import SAN_TINY
from maskmill.models.san.initial import initial
from maskmill.models.san.model import San
from maskmill.models.training.batch import TrainingBatch
from maskmill.models.training.contrastive import ContrastiveRecipe, ContrastiveTraining, clip_parameters, fresh_clip
from maskmill.models.training.gauge import region_logits
from maskmill.models.training.loop import Training
from maskmill.models.training.pairs import Pairs
from maskmill.models.training.recipe import Recipe
from maskmill.models.vocabulary.averaging import average
from maskmill.models.vocabulary.scenes import COLOURS, NOVEL, SHAPES, names
from maskmill.models.vocabulary.templates import TEMPLATE_SETS
from maskmill.pipeline.synthesis.pairs import TEXTS, normalised, pair_batches
from maskmill.pipeline.synthesis.pool import draw, pools
from maskmill.pipeline.synthesis.truth import taught_names, truth_batches
from maskmill.pipeline.terminal import print_lines

TEMPLATES = ("{}", "a {}", *TEMPLATE_SETS["vild14"])
"""Prompts that CLIP learns names and attributes in."""

GAUGE_SEED = 1_000_003
"""Seed of the scenes that region accuracy is read on; no training uses it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyPlan:
    """All numbers of the build, beside those of the configuration."""

    seed: int = 1
    """Of scenes, starting weights, order and prompts."""

    threads: int = 3
    """Of torch."""

    workers: int = 1
    """Processes that draw scenes meanwhile."""

    pool: int = 8192
    """Scenes held at a time; each is shown `passes` times, then replaced by a fresh one."""

    passes: int = 2
    """How often a scene is shown."""

    clip_batch: int = 128
    """Images of a step of CLIP's training."""

    zoom: tuple[float, float] = (0.6, 0.15)
    """Share of close views when scenes begin, and from half-way on; the steps before `close` show nothing else."""

    close: int = 200
    """Steps of close views alone, the first lesson of the curriculum."""

    clip: ContrastiveRecipe = field(default_factory=ContrastiveRecipe)
    """CLIP's training."""

    san: Recipe = field(default_factory=lambda: Recipe(steps=2100, batch_size=16, learning_rate=1e-3, clip_norm=1.0))
    """SAN's training."""

    dtype: Precision = "float32"
    """Arithmetic of SAN's training."""

    save_every: int = 250
    """Steps between checkpoints."""


class Log:
    """Lines of JSON, to a file and the screen."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started = time.monotonic()

    def write(self, **facts: object) -> None:
        """Add a line with the seconds since the start."""
        line = json.dumps({"seconds": round(time.monotonic() - self._started), **facts})
        print_lines(line)
        with self._path.open("a") as file:
            file.write(line + "\n")


def train_clip(plan: TinyPlan, work: Path, log: Log) -> dict[str, Tensor]:
    """CLIP's tensors under SAN's names; goes on from the checkpoint in `work` where there is one."""
    torch.set_num_threads(plan.threads)
    model = fresh_clip(SAN_TINY, plan.seed)
    training = ContrastiveTraining(model, plan.clip, TEXTS, TEMPLATES, plan.seed)
    saved = work / "clip.pt"
    if saved.exists():
        training.restore(torch.load(saved, weights_only=True))
    shown: list[dict[str, float]] = []
    for pairs in _clip_batches(plan, training):
        shown.append(training.step(pairs))
        if training.done % 50 == 0:
            means = {name: round(float(np.mean([one[name] for one in shown])), 3) for name in shown[0]}
            log.write(stage="clip", step=training.done, **means)
            shown = []
        if training.done % plan.save_every == 0 or training.done == plan.clip.steps:
            _save(training.state(), saved)
    state = {name: parameter.detach() for name, parameter in clip_parameters(model).items()}
    log.write(stage="clip", **region_accuracy(model))
    return state


def _clip_batches(plan: TinyPlan, training: ContrastiveTraining) -> Iterator[Pairs]:
    if training.done >= plan.clip.steps:
        return
    in_pool = plan.passes * (plan.pool // plan.clip_batch)
    rng = np.random.default_rng([plan.seed, training.done])
    source = pools(
        plan.seed, plan.pool, start=-(-training.done // in_pool), halved=True, masks=False, workers=plan.workers
    )
    for pool in source:
        for _ in range(plan.passes):
            high, low = plan.zoom
            progress = min(1.0, training.done / (0.5 * plan.clip.steps))
            share = 1.0 if training.done < plan.close else high + (low - high) * progress
            for pairs in pair_batches(pool, plan.clip_batch, grid=SAN_TINY.clip.vision_cfg.grid, zoomed=share, rng=rng):
                yield pairs
                if training.done >= plan.clip.steps:
                    source.close()
                    return


def region_accuracy(model: San, scenes: int = 400) -> dict[str, float]:
    """Shares of regions that the frozen CLIP names right under true masks: names, attributes, backgrounds."""
    pool = draw(GAUGE_SEED, 0, scenes, halved=True, masks=True)
    assert pool.class_maps is not None
    truth = torch.from_numpy(np.concatenate([pool.objects, pool.backgrounds[:, None]], 1))
    masks = [torch.from_numpy(m)[None] == ids[:, None, None] for m, ids in zip(pool.class_maps, truth, strict=True)]
    features = text_features(model, names())
    found = torch.cat(
        [
            region_logits(model, normalised(torch.from_numpy(pool.images[at : at + 50])), masks[at : at + 50], features)
            for at in range(0, scenes, 50)
        ]
    ).argmax(-1)
    objects = (truth >= 0) & (truth < len(COLOURS) * len(SHAPES))
    backgrounds = truth >= len(COLOURS) * len(SHAPES)
    shapes = len(SHAPES)

    def share(right: Tensor, among: Tensor) -> float:
        return round(float(right[among].float().mean()), 4)

    return {
        "region_names": share(found == truth, objects),
        "region_colours": share(found // shapes == truth // shapes, objects),
        "region_shapes": share(found % shapes == truth % shapes, objects),
        "region_backgrounds": share(found == truth, backgrounds),
    }


@torch.no_grad()
def text_features(model: San, words: tuple[str, ...]) -> Tensor:
    """Class features of names in the published prompts, as `SanSegmenter.encode_text` makes them."""
    templates = TEMPLATE_SETS["vild14"]
    tokenize = Tokenizer(SAN_TINY.clip.text_cfg, model="san-tiny")
    tokens = tokenize([template.replace("{}", word) for word in words for template in templates])
    return average(model.ov_classifier.encode_text(tokens), range(len(words)))


def train_san(plan: TinyPlan, clip: Mapping[str, Tensor], work: Path, log: Log) -> dict[str, Tensor]:
    """All tensors of the SAN; goes on from the checkpoint in `work` where there is one."""
    torch.set_num_threads(plan.threads)
    start, _ = initial(SAN_TINY, clip, seed=plan.seed, source="the tiny CLIP")
    model = San(SAN_TINY)
    model.load_state_dict(start)
    training = Training(model, text_features(model, taught_names(NOVEL)), plan.san, dtype=plan.dtype)
    saved = work / "san.pt"
    if saved.exists():
        training.restore(torch.load(saved, weights_only=True))
    shown: list[dict[str, float]] = []
    for batch in _san_batches(plan, training):
        report = training.advance(batch)
        shown.append({"total": report.total, **report.losses})
        if training.step % 50 == 0:
            means = {name: round(float(np.mean([one[name] for one in shown])), 3) for name in shown[0]}
            log.write(stage="san", step=training.step, **means)
            shown = []
        if training.step % plan.save_every == 0 or training.step == plan.san.steps:
            _save(training.state(), saved)
    return dict(model.state_dict())


def _san_batches(plan: TinyPlan, training: Training) -> Iterator[TrainingBatch]:
    if training.step >= plan.san.steps:
        return
    rng = np.random.default_rng([plan.seed, 1, training.step])
    shown = training.step * plan.san.batch_size // (plan.passes * plan.pool)
    source = pools(plan.seed + 1, plan.pool, start=2 * shown, halved=False, masks=True, workers=plan.workers)
    for pool in source:
        for batch in truth_batches(pool, plan.san.batch_size, left_out=NOVEL, rng=rng, passes=plan.passes):
            yield batch
            if training.step >= plan.san.steps:
                source.close()
                return


def ship(state: Mapping[str, Tensor], path: Path) -> None:
    """Write the weights in half precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save_safetensors({name: tensor.half() for name, tensor in state.items()}, path)


def _save(state: object, path: Path) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)
