"""`maskmill evaluate`: how right a model or a label table is, on shards with ground truth."""

import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from maskmill.jobs.places import scratch_of
from maskmill.models.errors import UsageError
from maskmill.pipeline.config import Device, Dtype
from maskmill.pipeline.steps import Steps
from maskmill.pipeline.terminal import print_json, print_lines

if TYPE_CHECKING:
    from maskmill.models.vocabulary import Vocabulary
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.reading.limits import ReadLimits
    from maskmill.pipeline.shards.moved import ShardsAt


def evaluate(
    *shards: str,
    model: str | None = None,
    weights: str | None = None,
    labels: str | None = None,
    shards_at: list[str] | None = None,
    vocab: str | None = None,
    truth_ids: Literal["vocabulary", "coco-stuff"] = "vocabulary",
    templates: str | None = None,
    novel: list[str] | None = None,
    dense_clip: bool = False,
    windows: float | None = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    batch_size: int = 8,
    scratch: Path | None = None,
    json: bool = False,
) -> int:
    """Score a model, a label table, or both, on images with ground truth: mIoU by group and class, pixel accuracy.

    A model is scored by semantic inference: each pixel takes the class with the highest sum over queries. Of a label
    table the segments are painted; pixels in no segment count as wrong.

    Args:
        shards: tar files whose samples have a seg.png (a class id a pixel; 255 means not labeled), as for `label`; or
            folders with images/ and annotations/, for models.
        model: the segmenter to score: san-tiny, san-vit-b16, san-vit-l14, or with --weights a denseclip.
        weights: its checkpoint (.pth, .safetensors); the released one by default.
        labels: the --output of a `maskmill label` of these shards, to score its label table.
        shards_at: OLD=NEW, with --labels: shards that were labeled below OLD, a folder or URL, lie below NEW now.
        vocab: label set that the ground truth's ids belong to. Default: the label table's, else the model's.
        truth_ids: what the ground truth's numbers are: ids of the vocabulary, or COCO-Stuff's own, as released.
        templates: prompt template set by name, or a text file with one template a line. Default: the model's.
        novel: a name that training left out; all such are scored as a group. Default for `scenes`: those left out.
        dense_clip: also score the dense features of the model's CLIP, without SAN: a baseline.
        windows: the model looks at large images through sliding windows, at up to so many times their usual size, as in
            `label`.
        device: where the model computes.
        dtype: precision of the model.
        batch_size: images the model takes at once.
        scratch: local folder for shards that have to be downloaded. Default: the system's.
        json: print JSON, with the IoU of every class.
    """
    steps = Steps()
    steps("checking shards and names", logged=False)
    from maskmill.jobs.incomplete import say
    from maskmill.models.vocabulary import Vocabulary
    from maskmill.models.vocabulary.scenes import NOVEL
    from maskmill.models.vocabulary.templates import load_templates
    from maskmill.models.zoo import MODELS, load
    from maskmill.pipeline.evaluation import scores
    from maskmill.pipeline.evaluation.groups import groups_of
    from maskmill.pipeline.evaluation.model import evaluate_model
    from maskmill.pipeline.evaluation.table import evaluate_table
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.reading.first_bytes import refuse_unreadable
    from maskmill.pipeline.table.label_table import LabelTable
    from maskmill.pipeline.truth.pairs import sources_of

    _check_model(model, weights=weights, labels=labels, dense_clip=dense_clip, windows=windows)
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: expected 1 or more.")
    folder = scratch_of(scratch)
    moved = _moved(shards_at or [], labels)
    output = None if labels is None else Output.of(labels)
    known = _vocabulary(vocab, model, output)
    left_out = novel or (NOVEL if known.hash == Vocabulary.load("scenes").hash else ())
    groups = groups_of(known, left_out)
    sources = sources_of(shards)
    refuse_unreadable(sources)
    found = []
    if model is not None:
        prompts = load_templates(templates or MODELS[model].config.templates)
        steps(f"loading {model}", logged=False)
        segmenter = load(model, weights=weights, device=device, dtype=dtype, windows=windows)
        classes = segmenter.classes(known, prompts).to(segmenter.device)
        steps(f"evaluating {model}", logged=False)
        found += evaluate_model(
            sources,
            segmenter,
            classes,
            dense_clip=dense_clip,
            truth_ids=truth_ids,
            batch_size=batch_size,
            limits=_limits(output),
            scratch=folder,
        )
    if output is not None:
        say(LabelTable(output).incomplete)
        steps("evaluating labels", logged=False)
        found.append(
            evaluate_table(
                sources, output, len(known), truth_ids=truth_ids, limits=_limits(output), scratch=folder, moved=moved
            )
        )
    if json:
        print_json(dumps([scores.to_json(one, groups, known) for one in found], indent=2))
    else:
        print_lines(*scores.lines(found, groups))
    return 0


def _moved(words: list[str], labels: str | None) -> "ShardsAt":
    from maskmill.pipeline.shards.moved import ShardsAt

    if words and labels is None:
        raise UsageError("--shards-at: expected with --labels, whose shards were moved. Leave it out.")
    return ShardsAt.parse(words)


def _limits(labels: "Output | None") -> "ReadLimits":
    """How shards are read: beside a label table as its run read them, so that samples are the same."""
    from maskmill.pipeline import run
    from maskmill.pipeline.reading.limits import ReadLimits

    return ReadLimits() if labels is None else run.limits(run.require(labels))


def _vocabulary(vocab: str | None, model: str | None, output: "Output | None") -> "Vocabulary":
    """What the ground truth's ids belong to: the names given, else the label table's, else the model's."""
    from maskmill.models.vocabulary import Vocabulary
    from maskmill.models.zoo import MODELS
    from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run

    known = None if output is None else vocabulary_of_run(output)
    if vocab is None and known is not None:
        return known
    assert model is not None or vocab is not None, "one of them was named"
    given = Vocabulary.load(vocab or MODELS[str(model)].default_vocabulary)
    if known is not None and known.hash != given.hash:
        raise UsageError(f"--vocab {vocab!r}: the label table has another vocabulary. Leave --vocab out.")
    return given


def _check_model(
    model: str | None, *, weights: str | None, labels: str | None, dense_clip: bool, windows: float | None
) -> None:
    """Refuse options that don't go together, and a model that doesn't exist."""
    from maskmill.models.zoo import spec_of

    if model is None and labels is None:
        raise UsageError("--model or --labels: neither given. Name what to score: a model, a label table, or both.")
    if model is not None:
        spec_of(model)
    if model is None and (dense_clip or weights is not None):
        raise UsageError(f"{'--dense-clip' if dense_clip else '--weights'} needs a --model. Name it.")
    if windows is not None and (model is None or dense_clip):
        raise UsageError(f"--windows {windows:g}: expected a --model, and no --dense-clip. Leave one of them out.")


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["evaluate", *sys.argv[1:]])
