"""What of a `label` is wrong, or done already, found before Ray starts and a model is loaded. Writes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.templates import load_templates
from maskmill.models.zoo import spec_of
from maskmill.pipeline.config import LabelConfig
from maskmill.pipeline.labeling.placement import joins, local_node, place
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.errors import ShardError
from maskmill.pipeline.reading.first_bytes import unreadable
from maskmill.pipeline.shards.planning import price_lines, refuse_another_run, vocabulary_of, weights_hash
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores.urls import redact

LISTED = 20
"""Shards that a dry run lists before it only counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a `label` has to do."""

    shards: tuple[Shard, ...]
    """All shards that were named, in order."""

    todo: tuple[Shard, ...]
    """Those that are to be labeled: not done, or done and to be replaced."""

    vocabulary: Vocabulary
    """The run's."""

    templates: tuple[str, ...]
    """The run's prompt templates."""

    unreadable: Mapping[str, ShardError] = field(default_factory=dict)
    """Those of them that are known to fail, by canonical URL, and why."""

    weights: str | None = None
    """Hash of the weights, where it had to be computed."""

    @property
    def needs_model(self) -> bool:
        """Whether any shard may be labeled."""
        return len(self.unreadable) < len(self.todo)


def preflight(shards: Sequence[Shard], config: LabelConfig, output: Output) -> Work:
    """Check a `label` as far as is possible without Ray, the model and a shard's whole bytes.

    Weights in a local file are read whole only where OUT holds a run, to compare them with the run's.

    On a cluster that is joined, its machines may have devices, folders and files that this one hasn't.

    Args:
        shards: what was named.
        config: the run's configuration.
        output: its OUT.

    Raises:
        UsageError: OUT is no folder or holds another run; a wrong vocabulary or templates; weights that don't fit;
            where no cluster is joined also a device that isn't there, a decoder that it hasn't, replicas that don't
            fit, no folder for scratch.
        EnvironmentFailure: OUT can't be written or read, the weights' store doesn't answer.
    """
    output.check_writable()
    vocabulary, templates = vocabulary_of(config), load_templates(config.templates)
    holds_it = refuse_another_run(config, output, vocabulary, templates)
    if not joins():
        check_scratch(config)
    done = output.done()
    todo = tuple(shard for shard in shards if shard.replace or shard.label_name not in done)
    work = Work(
        shards=tuple(shards),
        todo=todo,
        vocabulary=vocabulary,
        templates=templates,
        unreadable=unreadable(todo, config.limits),
    )
    if work.needs_model and not joins():
        placement = place([local_node()], config.replica, device=config.model.device)
        config.decoding.refuse_without_gpu(placement.device)
    if work.needs_model or not holds_it:
        _check_model(config, vocabulary, templates)
    if not holds_it:
        return work
    # Last, as it reads all of them; only a run that is there can have had others.
    weights = weights_hash(config)
    refuse_another_run(config, output, vocabulary, templates, weights=weights)
    return replace(work, weights=weights)


def check_scratch(config: LabelConfig) -> None:
    """Refuse a scratch folder that isn't on this machine.

    Raises:
        UsageError: it isn't.
    """
    scratch = config.replica.scratch
    if not scratch.is_dir():
        import socket

        raise UsageError(f"--scratch {str(scratch)!r}: no such folder on {socket.gethostname()}. Make it there first.")


def _check_model(config: LabelConfig, vocabulary: Vocabulary, templates: tuple[str, ...]) -> None:
    from maskmill.models import checking  # with it comes torch

    words = config.vocabulary
    source = spec_of(config.model.model).source(config.model.weights)
    if joins() and "://" not in source and not Path(source).is_file():
        return  # it may be there on the cluster's machines
    checking.check(
        config.model.model,
        weights=config.model.weights,
        vocabulary=None if words.vocab is None and words.templates is None else vocabulary,
        templates=templates,
    )


def dry_run(work: Work, config: LabelConfig, output: Output) -> list[str]:
    """What a `label` would do, as lines."""
    todo, names = work.todo, len(work.vocabulary)
    absent = sum(shard.missing for shard in todo)
    size = sum(shard.size or 0 for shard in todo)
    counts = [f"{len(work.shards) - len(todo):,} done already", f"{absent:,} not found"]
    if broken := len(work.unreadable) - absent:
        counts.append(f"{broken:,} unreadable")
    lines = [
        f"would label {len(todo):,} of {len(work.shards):,} shards ({size / 1e6:,.1f} MB; {', '.join(counts)})",
        f"model {config.model.model}, {names:,} names, {config.form} inference, into {redact(output.url)}",
    ]
    lines += price_lines(config, names)
    lines += [f"  {shard.url}  {_described(shard, work)}" for shard in todo[:LISTED]]
    if len(todo) > LISTED:
        lines.append(f"  and {len(todo) - LISTED:,} more")
    return lines


def _described(shard: Shard, work: Work) -> str:
    if shard.missing:
        return "not found"
    error = work.unreadable.get(shard.url)
    return f"{shard.size or 0:,} bytes" if error is None else str(error)
