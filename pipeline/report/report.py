"""Makes a report of a run: ledger, drawn samples, pictures, one page. What the page looks like is page.html's."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.models.scratch import scratch_folder
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline import run
from maskmill.pipeline.ledger import class_ledger
from maskmill.pipeline.ledger.class_ledger import ClassLedger
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.report import figures, sample
from maskmill.pipeline.report.choice import choose
from maskmill.pipeline.report.config import PAGE_BYTES, ReportConfig
from maskmill.pipeline.report.facts import LISTED, ledger_facts, run_facts
from maskmill.pipeline.report.page import embedded, page, short
from maskmill.pipeline.report.picture import Drawer
from maskmill.pipeline.report.sample import Sampled
from maskmill.pipeline.shards.moved import ShardsAt
from maskmill.pipeline.showing.source import TruthFormat
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run

CLASSES = 2_000
"""Classes that the page lists at most, the most frequent ones."""

NAME = 100
"""Characters of a class name."""

_WORDS_BYTES = 100_000
"""Left for the page's own HTML, style and script."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A report, and what it was made from."""

    html: bytes
    """The page."""

    drawn: int
    """Samples whose scalars were read."""

    samples: int
    """Samples of the run."""

    shards: int
    """Shards that the drawn ones are of."""

    chosen_from: int
    """Samples that the shown ones were chosen from."""

    shown: int
    """Samples that the page shows."""

    notes: tuple[str, ...]
    """What the page lacks, and why."""

    incomplete: str | None
    """A line that says how many of the run's shards have no labels; None if all have."""


def report(url: str, keep: SegmentFilter, config: ReportConfig) -> Report:
    """A run on one page that asks for nothing else, below `PAGE_BYTES` however large the run is.

    The ledger is added up whole; all else is drawn with a seed (see `sample`).

    Args:
        url: OUT of the run, sealed or not.
        keep: which segments count and are shown.
        config: how much is shown, and with which seed.

    Raises:
        UsageError: no run or nothing done there, a damaged file of it, a filter that doesn't fit it.
        OutputError: its store doesn't answer.
    """
    output = Output.of(url)
    recorded = run.require(output)
    vocabulary = vocabulary_of_run(output)
    identity = recorded["identity"]
    bound = keep.bound(vocabulary, identity.get("inference", "general"), agreement=run.has_agreement(identity))
    table = LabelTable(output)
    moved = ShardsAt.parse(config.shards_at)
    ledger = class_ledger.read(table, len(vocabulary), () if bound.every_class else bound.ids)
    done = _drawn_from(ledger, every_class=bound.every_class)
    random = np.random.default_rng(config.seed)
    moved.refuse_unused(ledger.status.urls("done"))
    spans = sample.draw(done["url"].to_pylist(), done["read"].to_numpy(), random)
    sampled = sample.read(table, spans, bound)
    choices, chosen_from = choose(
        sampled, config.images, random, shards=config.image_shards, everything=keep == SegmentFilter()
    )
    data: dict[str, Any] = {
        "title": config.title,
        "run": run_facts(recorded, output),
        "ledger": ledger_facts(ledger.status),
        "incomplete": ledger.status.incomplete(output),
        "filter": _words(keep),
        "drawn": {
            "seed": config.seed,
            "samples": len(sampled.ok),
            "of": int(done["read"].to_numpy().sum()),
            "holding": not bound.every_class,
            "shards": len(spans) - len(sampled.unread),
            "segments": len(sampled.image),
            "found": int(sampled.found.sum()),
            "cut": sampled.cut,
            # Masks of the form `queries` may overlap.
            "unlabeled": None if identity.get("inference") == "queries" else _number(sampled.unlabeled),
            "unread": [short(redact(url), 300) for url in sampled.unread],
            "chosenFrom": chosen_from,
            "imageShards": len({choice.span for choice in choices}),
        },
        "figures": figures.figures(sampled),
        "classes": _classes(ledger, sampled, vocabulary),
        "size": len(vocabulary),
        "everFound": int(np.count_nonzero(ledger.images)),
    }
    room = PAGE_BYTES - _WORDS_BYTES - len(embedded(data))
    with scratch_folder(config.scratch) as scratch:
        drawn = Drawer(
            table=table,
            keep=bound,
            vocabulary=vocabulary,
            limits=_limits(recorded),
            scratch=scratch,
            moved=moved,
            truth=TruthFormat(classes=len(vocabulary), ids=config.truth_ids),
            most_bytes=room // max(1, len(choices)),
        ).draw(sampled.spans, choices)
    data |= {"pictures": drawn.pictures, "gone": list(drawn.gone.items())[:LISTED]}
    html = page(data)
    assert len(html) <= PAGE_BYTES, "pictures keep to the room they are given"
    return Report(
        html=html,
        incomplete=ledger.status.incomplete(output),
        drawn=len(sampled.ok),
        samples=ledger.status.read,
        shards=len(spans),
        chosen_from=chosen_from,
        shown=len(drawn.pictures),
        notes=(
            *(f"{redact(url)}: its label file can't be read; `maskmill verify` says more" for url in sampled.unread),
            *(f"{shard}: shown as masks alone: {why}" for shard, why in drawn.gone.items()),
        ),
    )


def _drawn_from(ledger: ClassLedger, *, every_class: bool) -> pa.Table:
    """`url` and `read` of the done shards that samples are drawn from: with a filter of classes, those holding one."""
    done = ledger.status.table.filter(pc.field("state") == "done")
    if not every_class:
        holding = pa.array([url.rsplit("/", 1)[-1] for url in ledger.holding], pa.string())
        done = done.filter(pc.is_in(done["label_file"], value_set=holding))
    return done.select(["url", "read"])


def _limits(recorded: dict[str, Any]) -> ReadLimits:
    """Those that the run was labeled with, so that what it labeled can be shown."""
    return replace(run.limits(recorded), keep_truncated=True)


def _classes(ledger: ClassLedger, sampled: Sampled, vocabulary: Vocabulary) -> list[list[Any]]:
    """Rows of the class table: id, name, kind; images and segments of the ledger; then of the drawn samples."""
    mine = figures.classes(sampled, len(vocabulary))
    order = np.argsort(-ledger.segments, kind="stable")[:CLASSES]
    return [
        [
            vocab_id,
            short(vocabulary[vocab_id].name, NAME),
            vocabulary[vocab_id].kind,
            int(ledger.images[vocab_id]),
            int(ledger.segments[vocab_id]),
            int(mine["segments"][vocab_id]),
            _number(mine["pixels"][vocab_id]),
            _number(mine["score"][vocab_id]),
            _number(mine["stability"][vocab_id]),
        ]
        for vocab_id in order.tolist()
    ]


def _words(keep: SegmentFilter) -> list[str]:
    """The filter as a command line has it."""
    plain = SegmentFilter()
    words = []
    for field in fields(SegmentFilter):
        value, option = getattr(keep, field.name), f"--{field.name.replace('_', '-')}"
        if value != getattr(plain, field.name):
            words += [f"{option} {short(str(one), NAME)}" for one in (value if isinstance(value, tuple) else (value,))]
    return words


def _number(value: float | None) -> float | None:
    return round(float(value), 5) if value is not None and np.isfinite(value) else None
