"""The images that a training learns from: those with ground truth, or those that a label table has labels of."""

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline import run
from maskmill.pipeline.dataset.reader import done_shards
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.shards.moved import ShardsAt
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run
from maskmill.pipeline.training.config import TrainConfig
from maskmill.pipeline.truth.labels import LabeledPair, open_labels
from maskmill.pipeline.truth.pairs import NO_PAIRS, Pair, open_pairs, sources_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What is learnt from; the same on every worker."""

    pairs: tuple[Pair | LabeledPair, ...]
    """All images, in order."""

    vocabulary: Vocabulary
    """What their class ids belong to."""

    limits: ReadLimits
    """What is refused unread."""

    identity: dict[str, Any]
    """What tells these examples from others, for train.json."""


def examples_of(config: TrainConfig, default_vocabulary: str, opened: ExitStack) -> Examples:
    """All images of a training; downloaded shards stay until `opened` closes.

    Args:
        config: which.
        default_vocabulary: label set of ground truth where the configuration names none.
        opened: what holds the shards.

    Raises:
        UsageError: nothing to learn from, labels that don't fit their shards, another vocabulary than the labels'.
    """
    found = _of_truth(config, default_vocabulary, opened) if config.labels is None else _of_labels(config, opened)
    digest = hashlib.sha256()
    for pair in found.pairs:
        digest.update(pair.stated.encode())
    return replace(
        found,
        identity={**found.identity, "images": len(found.pairs), "images_sha256": digest.hexdigest()},
    )


def _of_truth(config: TrainConfig, default_vocabulary: str, opened: ExitStack) -> Examples:
    found: list[Pair] = []
    for source in sources_of(config.shards):
        pairs = open_pairs(source, config.job.scratch, ReadLimits(), ids=config.data.truth_ids)
        found.extend(opened.enter_context(pairs).pairs)
    if not found:
        raise UsageError(NO_PAIRS)
    return Examples(
        pairs=tuple(found),
        vocabulary=Vocabulary.load(config.data.vocab or default_vocabulary),
        limits=ReadLimits(),
        identity={},
    )


def _of_labels(config: TrainConfig, opened: ExitStack) -> Examples:
    assert config.labels is not None, "a training on labels"
    output = Output.of(config.labels)
    vocabulary = vocabulary_of_run(output)
    if config.data.vocab is not None and Vocabulary.load(config.data.vocab).hash != vocabulary.hash:
        raise UsageError(
            f"--vocab {config.data.vocab!r}: not the vocabulary of --labels {redact(output.url)}. Leave it out: the "
            "labels' own is taken."
        )
    recorded = run.require(output)
    limits = run.limits(recorded)
    # --leave-out is one option: a name that is no class can't be a label either.
    keep = replace(config.keep, leave_out=(*config.keep.leave_out, *config.data.leave_out))
    made = recorded["identity"]
    bound = keep.bound(vocabulary, made["inference"], agreement=run.has_agreement(made))
    shards, _ = done_shards(output, config.shards or None, ShardsAt.parse(config.shards_at))
    table = LabelTable(output)
    found: list[LabeledPair] = []
    for shard in shards:
        found.extend(opened.enter_context(open_labels(shard, table, bound, config.job.scratch, limits)))
    if not any(vocab_id >= 0 for pair in found for vocab_id in pair.ids):
        raise UsageError(f"--labels {redact(output.url)}: no segment passes the filter. Lower its bounds.")
    return Examples(
        pairs=tuple(found),
        vocabulary=vocabulary,
        limits=limits,
        identity={"labels": {"run": recorded["fingerprint"], "keep": keep.stated}},
    )
