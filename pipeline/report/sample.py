"""Draws rows of a label table with a seed and reads their scalars: what a report's charts are made of. No masks."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from maskmill.pipeline.table.filters import BoundFilter
from maskmill.pipeline.table.footer import FooterError
from maskmill.pipeline.table.label_table import LabelTable, ShardRows
from maskmill.pipeline.table.schema import STATUS_OK
from maskmill.pipeline.table.segment_columns import LEAVES, SCALARS, columns_of

ROWS = 20_000
"""Samples that are drawn at most; a smaller table is read whole."""

SHARDS = 64
"""Shards that they come from at most."""

SEGMENTS = 1_000_000
"""Segments of them that are looked at, at most: 40 MB."""

_COLUMNS = ["status", "mask_width", "mask_height", *LEAVES]
_ROWS_AT_ONCE = 1024
_READERS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Consecutive rows of one shard."""

    shard: str
    """Canonical URL."""

    first: int
    """First row, from 0 in the shard."""

    count: int
    """How many."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sampled:
    """Scalars of I drawn samples and their S segments that pass the filter."""

    spans: tuple[Span, ...]
    """Where the samples come from, in an order that the seed gave."""

    span: NDArray[np.int64]
    """[I] number of the span."""

    row: NDArray[np.int64]
    """[I] row in the shard: the sample's `sample_index`."""

    ok: NDArray[np.bool_]
    """[I] labeled, not failed."""

    pixels: NDArray[np.int64]
    """[I] pixels of the sample's masks; 0 where it failed."""

    found: NDArray[np.int64]
    """[I] segments of the sample, filtered or not."""

    image: NDArray[np.int64]
    """[S] which of the I samples a segment is of, ascending."""

    segments: Mapping[str, NDArray[Any]]
    """`SCALARS`, each [S]."""

    unread: tuple[str, ...]
    """Shards whose label files could not be read."""

    cut: bool
    """Whether there were more than `SEGMENTS`."""

    @property
    def share(self) -> NDArray[np.float64]:
        """[S] share of its image that a segment covers, in [0, 1]."""
        shares: NDArray[np.float64] = self.segments["area"] / np.maximum(self.pixels[self.image], 1)
        return shares

    @property
    def passing(self) -> NDArray[np.int64]:
        """[I] segments of each sample that pass the filter."""
        return np.bincount(self.image, minlength=len(self.ok))

    @property
    def unlabeled(self) -> float | None:
        """Share of the labeled samples' pixels in no passing segment, if none overlap; None without samples."""
        pixels = int(self.pixels[self.ok].sum())
        covered = int(self.segments["area"].astype(np.int64).sum())
        return max(0.0, 1 - covered / pixels) if pixels else None

    @property
    def confidence(self) -> NDArray[np.float64]:
        """[I] mean of score x stability over a sample's segments, weighted by area; NaN where it has none.

        Segments in semantic form have no stability; it is then the mean of the score.
        """
        stability = np.nan_to_num(self.segments["stability"].astype(np.float64), nan=1.0)
        weight = self.segments["area"].astype(np.float64)
        weighted = weight * self.segments["score"] * stability
        sums, weights = (np.bincount(self.image, values, len(self.ok)) for values in (weighted, weight))
        mean: NDArray[np.float64] = np.divide(sums, weights, out=np.full(len(sums), np.nan), where=weights > 0)
        return mean


def draw(
    urls: Sequence[str],
    sizes: NDArray[np.int64],
    random: np.random.Generator,
    *,
    rows: int = ROWS,
    shards: int = SHARDS,
) -> list[Span]:
    """Spans of rows, about as if each row of the table were as likely as any other.

    A shard is as likely as it is large, and of each as many consecutive rows are taken: shards of a web data set are
    shuffled already, and consecutive rows are a few reads.

    Args:
        urls: the done shards.
        sizes: their samples.
        random: drawn from.
        rows: most rows in all.
        shards: most shards.
    """
    some = np.flatnonzero(sizes > 0)
    if not len(some):
        return []
    weights = sizes[some] / sizes[some].sum()
    chosen = random.choice(some, min(shards, len(some)), replace=False, p=weights)
    taken = np.zeros(len(chosen), np.int64)
    left = rows
    # From the smallest on, so that what one lacks the larger ones give.
    for place, at in enumerate(np.argsort(sizes[chosen], kind="stable")):
        taken[at] = min(sizes[chosen[at]], -(-left // (len(chosen) - place)))
        left -= int(taken[at])
    return [
        Span(shard=urls[index], first=int(random.integers(0, sizes[index] - count + 1)), count=int(count))
        for index, count in zip(chosen.tolist(), taken.tolist(), strict=True)
        if count
    ]


def read(table: LabelTable, spans: Sequence[Span], keep: BoundFilter, *, segments: int = SEGMENTS) -> Sampled:
    """The scalars of some spans.

    Args:
        table: the label files.
        spans: of done shards.
        keep: which segments count.
        segments: most segments, each span has an equal part of them.

    Raises:
        OutputError: the store doesn't answer.
    """
    most = max(1, segments // max(1, len(spans)))
    if table.sealed:
        _ = table.files  # its ledger is read before threads ask for it
    with ThreadPoolExecutor(_READERS) as threads:
        parts = list(threads.map(lambda span: _read(table, span, keep, most), spans))
    read_parts = [(number, part) for number, part in enumerate(parts) if part is not None]
    empty = _Part.of([], first=0, cut=False)
    whole = [part for _, part in read_parts] or [empty]
    starts = np.cumsum([0, *(len(part.ok) for part in whole)])
    return Sampled(
        spans=tuple(spans),
        span=np.concatenate([np.full(len(part.ok), number) for number, part in read_parts] or [empty.row]),
        row=np.concatenate([part.row for part in whole]),
        ok=np.concatenate([part.ok for part in whole]),
        pixels=np.concatenate([part.pixels for part in whole]),
        found=np.concatenate([part.found for part in whole]),
        image=np.concatenate([part.image + start for part, start in zip(whole, starts, strict=False)]),
        segments={name: np.concatenate([part.segments[name] for part in whole]) for name in SCALARS},
        unread=tuple(span.shard for span, part in zip(spans, parts, strict=True) if part is None),
        cut=any(part.cut for part in whole),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Part:
    """What `Sampled` says, of one span or a batch of its rows."""

    row: NDArray[np.int64]
    ok: NDArray[np.bool_]
    pixels: NDArray[np.int64]
    found: NDArray[np.int64]
    image: NDArray[np.int64]
    segments: Mapping[str, NDArray[Any]]
    cut: bool

    @classmethod
    def of(cls, batches: "Sequence[_Part]", *, first: int, cut: bool) -> "_Part":
        """Batches one after the other; rows count from `first`."""

        def joined(name: str, kind: type) -> NDArray[Any]:
            return np.concatenate([getattr(batch, name) for batch in batches] or [np.zeros(0, kind)])

        ok = joined("ok", np.bool_)
        starts = np.cumsum([0, *(len(batch.ok) for batch in batches)])
        image = [batch.image + start for batch, start in zip(batches, starts, strict=False)]
        return cls(
            row=first + np.arange(len(ok)),
            ok=ok,
            pixels=joined("pixels", np.int64),
            found=joined("found", np.int64),
            image=np.concatenate(image or [np.zeros(0, np.int64)]),
            segments={
                name: np.concatenate([batch.segments[name] for batch in batches] or [np.zeros(0, kind)])
                for name, kind in SCALARS.items()
            },
            cut=cut,
        )


def _read(table: LabelTable, span: Span, keep: BoundFilter, most: int) -> _Part | None:
    """None: the label file can't be read."""
    rows = table.rows_of(span.shard)
    if rows is None:
        return None
    place = ShardRows(url=rows.url, first=rows.first + span.first, count=span.count)
    batches: list[_Part] = []
    cut = False
    try:
        for batch in _batches(table, place, keep):
            batches.append(batch)
            if sum(len(part.image) for part in batches) > most:
                cut = sum(len(part.ok) for part in batches) < span.count
                break
    except (FooterError, FileNotFoundError, ValueError, pa.ArrowException):
        return None
    return _Part.of(batches, first=span.first, cut=cut)


def _batches(table: LabelTable, place: ShardRows, keep: BoundFilter) -> Iterator[_Part]:
    for batch in table.batches(place, _COLUMNS, _ROWS_AT_ONCE):
        lengths, columns = columns_of(batch)
        passes = keep.passing(columns)
        pixels = pc.multiply(*(batch[name].cast(pa.int64()) for name in ("mask_width", "mask_height")))
        yield _Part(
            row=np.zeros(0, np.int64),
            ok=pc.equal(batch["status"], STATUS_OK).to_numpy(zero_copy_only=False),
            pixels=pc.fill_null(pixels, 0).to_numpy(),
            found=lengths,
            image=np.repeat(np.arange(batch.num_rows), lengths)[passes],
            segments={name: column[passes] for name, column in columns.items()},
            cut=False,
        )
