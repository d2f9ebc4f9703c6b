"""What a `label` is asked to do: shards out of the command line's words, and whether OUT holds the same run."""

import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from maskmill.models.errors import EnvironmentFailure
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.templates import templates_hash
from maskmill.models.zoo import MODELS, spec_of
from maskmill.pipeline import run
from maskmill.pipeline.config import LabelConfig
from maskmill.pipeline.labeling import agreement_price
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards.listing import named
from maskmill.pipeline.shards.shard import Shard, describe_many
from maskmill.pipeline.stores.urls import redact


def shards_of(arguments: Sequence[str], *, limit: int | None) -> list[Shard]:
    """The shards that arguments name, with the size and etag that the store gives them.

    Raises:
        UsageError: a glob or list that matches nothing, two inputs that are one shard, an unknown scheme.
        EnvironmentFailure: the store can't be listed (credentials, network).
    """
    try:
        found = dict(islice(named(arguments).items(), None if limit is None else min(limit, sys.maxsize)))
        return describe_many(list(found), {source: shard for source, shard in found.items() if shard is not None})
    except PermissionError as error:
        raise EnvironmentFailure(f"the shards can't be listed: {redact(str(error))}. Check the credentials.") from error
    except OSError as error:
        raise EnvironmentFailure(f"the shards can't be listed: {redact(str(error))}.") from error


def vocabulary_of(config: LabelConfig) -> Vocabulary:
    """The run's base vocabulary: the one named, else the model's.

    Raises:
        UsageError: no such label set or file, or a wrong one.
    """
    return Vocabulary.load(config.vocabulary.vocab or MODELS[config.model.model].default_vocabulary)


def refuse_another_run(
    config: LabelConfig,
    output: Output,
    vocabulary: Vocabulary,
    templates: tuple[str, ...],
    *,
    weights: str | None = None,
) -> bool:
    """Compare what is known without loading the model with the run that OUT holds, if any; the job compares it all.

    Args:
        config: the run's configuration.
        output: its OUT.
        vocabulary: what `vocabulary_of` loaded.
        templates: prompt templates.
        weights: what `weights_hash` gave; None where it isn't known, and not compared then.

    Returns:
        Whether OUT holds a run.

    Raises:
        UsageError: they differ; OUT holds a sealed table.
    """
    recorded = run.read(output)
    if recorded is None:
        return False
    run.refuse_sealed(recorded, output)
    there = recorded["identity"]
    now = run.identity(
        config,
        rule=MODELS[config.model.model].rule_with(config.inference.windows),
        weights=there.get("weights", "") if weights is None else weights,
        vocabulary=vocabulary.hash,
        templates=templates_hash(templates),
        # Follows from the vocabulary, the templates and the weights; the first two are compared themselves.
        text_features=there.get("text_features", ""),
    )
    now.refuse(there, output)
    return True


def weights_hash(config: LabelConfig) -> str | None:
    """The hash of weights in a local file, which is read whole; None of those that lie elsewhere.

    Raises:
        UsageError: they can't be read.
    """
    source = spec_of(config.model.model).source(config.model.weights)
    if not Path(source).is_file():
        return None
    from maskmill.models import checking  # with it comes torch

    return checking.weights_hash(config.model.model, source)


def price_lines(config: LabelConfig, names: int) -> list[str]:
    """What options cost that take many times the work; no line where none of them is on.

    Args:
        config: the run's configuration.
        names: classes asked about.
    """
    told: list[str] = []
    if (scale := config.inference.windows) is not None:
        from maskmill.pipeline.labeling import windows_price  # with it comes torch, which a dry run else does without

        told += windows_price.price_lines(config.model.model, scale, names)
    if config.inference.views:
        told += agreement_price.price_lines(config.inference.views)
    return told
