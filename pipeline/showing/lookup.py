"""Finds samples' rows in a label table, and what their shards hold of them. It draws nothing."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from maskmill.models.errors import UsageError
from maskmill.models.masks import rle
from maskmill.models.scratch import scratch_folder
from maskmill.pipeline import run
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.errors import ShardError
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.shards.moved import UNMOVED, ShardsAt
from maskmill.pipeline.shards.shard import describe
from maskmill.pipeline.showing.source import Original, TruthFormat, originals
from maskmill.pipeline.stores.publish import read_bytes
from maskmill.pipeline.stores.urls import canonical, filesystem, quoted, redact
from maskmill.pipeline.table.filters import BoundFilter
from maskmill.pipeline.table.footer import FooterError
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.schema import LABELS, STATUS_OK
from maskmill.pipeline.truth.class_map import TruthIds

CHOICES = 5
"""Samples or keys that an error names at most."""

_LIST_SHARDS = '"SELECT DISTINCT shard FROM labels"'
_LIST_KEYS = '"SELECT key FROM labels LIMIT 20"'

SEARCHED_KEYS = 20_000
"""Keys that are compared with one that was not found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a sample is."""

    file: str
    """The label file, as its file system names it."""

    shard: str
    """Canonical URL."""

    source: str
    """The shard as it is to be opened: as the user named it, else its canonical URL."""

    sample_index: int
    """Position in the shard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundSegment:
    """One segment of the row."""

    vocab_id: int
    """Top class."""

    name: str
    """Its name in the run's vocabulary."""

    score: float
    """Probability of the class, in [0, 1]."""

    agreement: float | None
    """Mean IoU with the masks of other views of the image, in [0, 1]; None where the run wasn't asked for it."""

    mask: NDArray[np.bool_]
    """[mask_height, mask_width]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A sample as the table and its shard know it."""

    key: str
    """webdataset's `__key__`."""

    shard: str
    """Canonical URL."""

    sample_index: int
    """Position in the shard."""

    error: str | None
    """`REASON: detail` of a failed sample."""

    caption: str | None
    """Caption, if the sample has one."""

    segments: tuple[FoundSegment, ...]
    """Those that pass the filter; none where the sample failed or nothing was found."""

    left_out: int
    """Segments that don't pass it."""

    image: Image.Image | None
    """Upright RGB; None where the bytes cannot be decoded."""

    truth: NDArray[np.int32] | None
    """[height, width] vocabulary ids of the shard's ground truth, negative where it has none; None without one."""

    truth_names: Mapping[int, str]
    """Name of each id in `truth`."""

    notes: tuple[str, ...]
    """What somebody looking at the picture has to know."""


def find(output: Output, key: str, *, sample_index: int | None = None, shard: str | None = None) -> Found:
    """Find a sample by key in the table, and read it in its shard.

    Args:
        output: of the run.
        key: webdataset's `__key__`.
        sample_index: chooses among samples of one key.
        shard: URL; chooses among shards, and then only that shard's label file is read.

    Raises:
        UsageError: as `locate` and `read`.
    """
    (found,) = read(output, [locate(output, key, sample_index=sample_index, shard=shard)])
    return found


def locate(output: Output, key: str, *, sample_index: int | None = None, shard: str | None = None) -> Place:
    """Where the sample is that the arguments name (see `find`); no mask is read.

    Raises:
        UsageError: no such sample, more than one, or no label files.
    """
    _vocabulary(output)  # its absence is told first: OUT is no run
    return _place(output, key, sample_index, shard)


def read(
    output: Output,
    places: Iterable[Place],
    keep: BoundFilter | None = None,
    moved: ShardsAt = UNMOVED,
    *,
    truth_ids: TruthIds = "vocabulary",
) -> Iterator[Found]:
    """Samples of a run; shards in the order in which they are first named, each opened once, samples in its order.

    Args:
        output: of the run.
        places: of the samples.
        keep: which of their segments count; None: all.
        moved: where shards lie now.
        truth_ids: what the numbers of their ground truth are.

    Raises:
        UsageError: a shard cannot be read any more.
    """
    names = _vocabulary(output)
    limits, truth = _limits(output), TruthFormat(classes=len(names), ids=truth_ids)
    table = LabelTable(output)
    by_shard: dict[str, list[Place]] = {}
    for place in places:
        by_shard.setdefault(place.shard, []).append(place)
    for shard, mine in by_shard.items():
        rows = {place.sample_index: _row(output, place) for place in mine}
        try:
            first = table.of_first_version(shard)
            source = describe(moved.source(mine[0].source))
            with scratch_folder() as scratch:
                for original in originals(source, scratch, limits, rows, truth=truth, first_version=first):
                    yield _found(rows[original.sample_index], original, names, keep)
        except FooterError as error:
            raise UsageError(
                f"{redact(shard)}: its labels can't be read: {error}. `maskmill verify` says more."
            ) from error
        except ShardError as error:
            raise UsageError(
                f"{redact(shard)}: the image cannot be read from its shard any more ({error}). Put the shard back, "
                "or name where it is: --shards-at OLD=NEW."
            ) from error


def _found(row: dict[str, Any], original: Original, names: dict[int, str], keep: BoundFilter | None) -> Found:
    segments = row["segments"] or []
    kept = [place for place, segment in enumerate(segments) if keep is None or keep.keeps(segment)]
    return Found(
        key=row["key"],
        shard=row["shard"],
        sample_index=row["sample_index"],
        error=None if row["status"] == STATUS_OK else row["error"] or "no reason on record",
        caption=row["caption"],
        segments=tuple(_segment(row, place, names) for place in kept),
        left_out=len(segments) - len(kept),
        image=original.image,
        truth=original.truth,
        truth_names={}
        if original.truth is None
        else {i: names[i] for i in np.unique(original.truth).tolist() if i >= 0},
        notes=original.notes,
    )


def _vocabulary(output: Output) -> dict[int, str]:
    data = read_bytes(output.vocabulary)
    if data is None:
        raise UsageError(
            f"{redact(output.url)}: no vocabulary.parquet there. Expected the --output of a `maskmill label`."
        )
    table = pq.read_table(BytesIO(data), columns=["vocab_id", "name"])
    return dict(zip(table["vocab_id"].to_pylist(), table["name"].to_pylist(), strict=True))


def _limits(output: Output) -> ReadLimits:
    """The limits that the run read with, so that what it labeled can be shown."""
    return replace(run.limits(run.read(output) or {}), keep_truncated=True)


def _place(output: Output, key: str, sample_index: int | None, shard: str | None) -> Place:
    fs, _ = filesystem(output.url)
    url = None if shard is None else canonical(shard)
    files = [filesystem(file)[1] for file in _label_files(output, url)]
    chosen = pc.field("key") == key
    if url is not None:
        chosen &= pc.field("shard") == url
    if sample_index is not None:
        chosen &= pc.field("sample_index") == sample_index
    table = _dataset(files, fs)
    hits = table.to_table(columns=["shard", "sample_index", "__filename"], filter=chosen).to_pylist()
    if not hits:
        raise UsageError(_not_found(output, table, key, sample_index))
    if len(hits) > 1:
        raise UsageError(_several(key, hits))
    (hit,) = hits
    return Place(
        file=hit["__filename"], shard=hit["shard"], source=shard or hit["shard"], sample_index=hit["sample_index"]
    )


def _row(output: Output, place: Place) -> dict[str, Any]:
    """The row of a sample; masks are read from its row group alone."""
    fs, _ = filesystem(output.url)
    columns = [name for name in LABELS.names if name != "mask_logits"]
    # A sealed table's file holds many shards.
    mine = (pc.field("shard") == place.shard) & (pc.field("sample_index") == place.sample_index)
    row: dict[str, Any] = _dataset([place.file], fs).to_table(columns=columns, filter=mine).to_pylist()[0]
    return row


def _label_files(output: Output, shard: str | None) -> list[str]:
    """URLs of the label files to look in."""
    table = LabelTable(output)
    if shard is None:
        return table.files
    rows = table.rows_of(shard)
    if rows is None:
        raise UsageError(
            f"--shard {redact(shard)}: this run has no labels of that shard. List its shards with: "
            f"maskmill query {quoted(output.url)} {_LIST_SHARDS}"
        )
    return [rows.url]


def _dataset(files: list[str], fs: Any) -> ds.Dataset:
    return ds.dataset(files, schema=LABELS, format="parquet", filesystem=fs)


def _not_found(output: Output, table: ds.Dataset, key: str, sample_index: int | None) -> str:
    place = "" if sample_index is None else f" at --sample-index {sample_index}"
    known = table.head(SEARCHED_KEYS, columns=["key"])["key"].to_pylist()
    close = difflib.get_close_matches(key[:200], [name for name in known if len(name) <= 200], n=CHOICES)
    near = f"close to it: {', '.join(map(repr, close))}. " if close else ""
    if (incomplete := LabelTable(output).incomplete) is not None:
        near += f"The run is {incomplete}. "
    return (
        f"key {key[:200]!r}{place}: no such sample in {redact(output.url)}; {near}"
        f"List keys with: maskmill query {quoted(output.url)} {_LIST_KEYS}"
    )


def _several(key: str, hits: list[dict[str, Any]]) -> str:
    choices = [f"--shard {quoted(hit['shard'])} --sample-index {hit['sample_index']}" for hit in hits[:CHOICES]]
    more = f"; and {len(hits) - CHOICES} more" if len(hits) > CHOICES else ""
    return f"key {key[:200]!r}: {len(hits)} samples have it. Add one of: {'; '.join(choices)}{more}"


def _segment(row: dict[str, Any], place: int, names: dict[int, str]) -> FoundSegment:
    segment = row["segments"][place]
    return FoundSegment(
        vocab_id=segment["vocab_id"],
        name=names.get(segment["vocab_id"], f"id {segment['vocab_id']}"),
        score=segment["score"],
        agreement=segment["agreement"],
        mask=rle.decode(row["masks"][place], (row["mask_height"], row["mask_width"])),
    )
