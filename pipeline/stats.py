"""What a label table holds, on one page: from the ledger and the scalars of its segments. Masks are never read."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.ledger import class_ledger, summary
from maskmill.pipeline.ledger.status import Status
from maskmill.pipeline.output import Output
from maskmill.pipeline.query.formats import clean, width
from maskmill.pipeline.table import segment_sums
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.segment_sums import BINS, LONGEST, SegmentSums
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run

LISTED = 10
"""Classes in each of the two lists."""

BAR = 40
"""Characters of the longest bar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """A label table, added up."""

    status: Status
    """Shards and samples."""

    failed_shards: Counter[str]
    """Failed shards by reason."""

    vocabulary: Vocabulary
    """What its ids mean."""

    images: NDArray[np.int64]
    """By vocabulary id, images with at least one segment of it, as the ledger tells."""

    segments: NDArray[np.int64]
    """By vocabulary id, its segments, as the ledger tells."""

    sums: SegmentSums
    """Sums over the label files."""

    @property
    def bytes(self) -> Counter[str]:
        """Bytes of the label files by column, and those of their footers and indexes."""
        return self.sums.bytes + Counter(footers=self.status.bytes - sum(self.sums.bytes.values()))

    @property
    def ranked(self) -> list[int]:
        """Vocabulary ids of the classes found, those in most images first."""
        return [int(n) for n in np.lexsort((-self.segments, -self.images)) if self.segments[n]]


def stats(output: Output) -> Stats:
    """Add a label table up: a few scalars of each label file are read, and one listing, the ledger and the manifest.

    Raises:
        UsageError: there are no label files, or a file is damaged.
        OutputError: one can't be read.
    """
    table = LabelTable(output)
    _ = table.files
    vocabulary = vocabulary_of_run(output)
    told = class_ledger.read(table, len(vocabulary))
    return Stats(
        status=told.status,
        failed_shards=Counter(row.reason or "unknown" for row in told.status.rows("failed")),
        vocabulary=vocabulary,
        images=told.images,
        segments=told.segments,
        sums=segment_sums.add_up(table, len(vocabulary)),
    )


def lines(found: Stats) -> Iterator[str]:
    """The page for people."""
    sums, ranked = found.sums, found.ranked
    yield from summary.lines(found.status)[:3]
    if found.failed_shards:
        yield f"failed    {', '.join(f'{reason} {n:,}' for reason, n in found.failed_shards.most_common())} (shards)"
    if found.status.read:
        total = sum(found.bytes.values())
        parts = ", ".join(f"{name} {n / total:.0%}" for name, n in found.bytes.most_common(4))
        yield f"bytes     {total / found.status.read:,.0f} a sample in label files: {parts}"
    yield f"classes   {len(found.vocabulary):,} in the vocabulary, {len(ranked):,} found"
    if not ranked:
        return
    yield ""
    yield from _classes(found, "most found", ranked[:LISTED])
    if rare := ranked[LISTED:][-LISTED:]:
        yield ""
        yield from _classes(found, "least found", rare[::-1])
    yield ""
    yield f"score     mean {sums.scores.sum() / max(sums.segments.sum(), 1):.3f}"
    yield from _bars([(f"{n / BINS:.2f}-{(n + 1) / BINS:.2f}", int(count)) for n, count in enumerate(sums.by_score)])
    if sums.agreed:
        of = "all" if sums.agreed == sums.segments.sum() else f"{sums.agreed:,} of {int(sums.segments.sum()):,}"
        yield ""
        yield f"agreement mean {sums.agreement / sums.agreed:.3f} ({of} segments)"
    yield ""
    images = int(sums.by_length.sum())
    yield f"segments  {int(sums.segments.sum()) / max(images, 1):.2f} an image"
    yield from _bars([(_length(n), int(count)) for n, count in enumerate(sums.by_length)])


def to_json(found: Stats) -> dict[str, Any]:
    """The page for programs, with all classes in the order of the vocabulary."""
    sums, told = found.sums, summary.to_json(found.status)
    return {
        **{name: told[name] for name in ("shards", "samples", "segments")},
        "failed_shards_by_reason": dict(found.failed_shards.most_common()),
        "bytes": {"label_files": sum(found.bytes.values()), "by_column": dict(found.bytes.most_common())},
        "classes": [
            {
                "vocab_id": entry.vocab_id,
                "name": entry.name,
                "kind": entry.kind,
                "images": int(found.images[entry.vocab_id]),
                "segments": int(found.segments[entry.vocab_id]),
                "share": _share(found, entry.vocab_id),
                "mean_score": _mean_score(found, entry.vocab_id),
            }
            for entry in found.vocabulary
        ],
        "agreement": {
            "segments": sums.agreed,
            "mean": sums.agreement / sums.agreed if sums.agreed else None,
        },
        "scores": [
            {"from": n / BINS, "to": (n + 1) / BINS, "segments": int(count)} for n, count in enumerate(sums.by_score)
        ],
        "segments_an_image": [
            {"segments": _length(n), "images": int(count)} for n, count in enumerate(sums.by_length) if count
        ],
    }


def _classes(found: Stats, title: str, ids: list[int]) -> Iterator[str]:
    rows = [
        (
            clean(found.vocabulary[n].name),
            f"{found.images[n]:,}",
            f"{found.segments[n]:,}",
            f"{_share(found, n):.2%}",
            f"{_mean_score(found, n) or 0.0:.3f}",
        )
        for n in ids
    ]
    heads = (title, "images", "segments", "share", "mean score")
    widths = [max(map(width, column)) for column in zip(heads, *rows, strict=True)]
    for name, *numbers in (heads, *rows):
        line = [number.rjust(wide) for number, wide in zip(numbers, widths[1:], strict=True)]
        yield "  ".join([name + " " * (widths[0] - width(name)), *line])


def _share(found: Stats, vocab_id: int) -> float:
    """Of all labeled images' mask pixels, those in segments of the class."""
    return float(found.sums.areas[vocab_id] / max(found.sums.pixels, 1))


def _mean_score(found: Stats, vocab_id: int) -> float | None:
    segments = found.sums.segments[vocab_id]
    return float(found.sums.scores[vocab_id] / segments) if segments else None


def _length(segments: int) -> str:
    return f"{segments} or more" if segments == LONGEST else str(segments)


def _bars(counts: list[tuple[str, int]]) -> Iterator[str]:
    """Bars from the first count that isn't 0 to the last."""
    filled = [number for number, (_, count) in enumerate(counts) if count]
    if not filled:
        return
    shown = counts[filled[0] : filled[-1] + 1]
    most, wide = max(count for _, count in shown), max(len(label) for label, _ in shown)
    number = max(len(f"{count:,}") for _, count in shown)
    for label, count in shown:
        # What is there at all shows.
        bar = "#" * max(round(count / most * BAR), 1 if count else 0)
        yield f"  {label:>{wide}}  {count:>{number},}  {bar}".rstrip()
