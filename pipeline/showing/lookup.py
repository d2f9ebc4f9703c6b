"""Finds one sample's row in a label table, and what its shard holds of it. It draws nothing."""

import difflib
import hashlib
import tempfile
from dataclasses import dataclass, fields, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from models.errors import UsageError
from models.masks import rle
from pipeline import run
from pipeline.label_table import LabelTable
from pipeline.output import Output
from pipeline.publish import read_bytes
from pipeline.reading.errors import SampleError, ShardError
from pipeline.reading.images import decode_sample
from pipeline.reading.limits import ReadLimits
from pipeline.reading.open import open_shard
from pipeline.shard import Shard, describe
from pipeline.table.schema import LABELS, STATUS_OK
from pipeline.urls import canonical, filesystem, redact

TRUTH_MEMBER = "seg.png"
"""Extension of the member that holds a sample's ground truth: a class id a pixel."""

CHOICES = 5
"""Samples or keys that an error names at most."""

_LIST_SHARDS = '"SELECT DISTINCT shard FROM labels"'
_LIST_KEYS = '"SELECT key FROM labels LIMIT 20"'

SEARCHED_KEYS = 20_000
"""Keys that are compared with one that was not found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundSegment:
    """One segment of the row."""

    vocab_id: int
    """Top class."""

    name: str
    """Its name in the run's vocabulary."""

    score: float
    """Probability of the class, in [0, 1]."""

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
    """None where the sample failed or nothing was found."""

    image: Image.Image | None
    """Upright RGB; None where the bytes cannot be decoded."""

    truth: NDArray[np.integer[Any]] | None
    """[height, width] class ids of the shard's ground truth; None where it has none that can be read."""

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
        UsageError: no such sample, more than one, no label files, or a shard that cannot be read any more.
    """
    names = _vocabulary(output)
    row = _row(output, key, sample_index, None if shard is None else canonical(shard))
    source = describe(row["shard"] if shard is None else shard)
    try:
        with tempfile.TemporaryDirectory(prefix="maskmill-") as scratch:
            image, truth, notes = _sample(source, Path(scratch), _limits(output), row)
    except ShardError as error:
        raise UsageError(
            f"{redact(row['shard'])}: the image cannot be read from its shard any more ({error}). Put the shard back."
        ) from error
    return Found(
        key=row["key"],
        shard=row["shard"],
        sample_index=row["sample_index"],
        error=None if row["status"] == STATUS_OK else row["error"] or "no reason on record",
        caption=row["caption"],
        segments=_segments(row, names),
        image=image,
        truth=truth,
        notes=tuple(notes),
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
    recorded = (run.read(output) or {}).get("identity", {}).get("limits", {})
    known = {field.name for field in fields(ReadLimits)}
    kept = {name: value for name, value in recorded.items() if name in known}
    return replace(ReadLimits(**kept), keep_truncated=True)


def _row(output: Output, key: str, sample_index: int | None, shard: str | None) -> dict[str, Any]:
    """The one row that the arguments name; masks are read from its row group alone."""
    fs, _ = filesystem(output.url)
    files = [filesystem(url)[1] for url in _label_files(output, shard)]
    chosen = pc.field("key") == key
    if shard is not None:
        chosen &= pc.field("shard") == shard
    if sample_index is not None:
        chosen &= pc.field("sample_index") == sample_index
    table = _dataset(files, fs)
    hits = table.to_table(columns=["shard", "sample_index", "__filename"], filter=chosen).to_pylist()
    if not hits:
        raise UsageError(_not_found(output, table, key, sample_index))
    if len(hits) > 1:
        raise UsageError(_several(key, hits))
    (hit,) = hits
    columns = [name for name in LABELS.names if name != "mask_logits"]
    # A sealed table's file holds many shards.
    place = (pc.field("shard") == hit["shard"]) & (pc.field("sample_index") == hit["sample_index"])
    rows = _dataset([hit["__filename"]], fs).to_table(columns=columns, filter=place)
    row: dict[str, Any] = rows.to_pylist()[0]
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
            f"maskmill query {redact(output.url)} {_LIST_SHARDS}"
        )
    return [rows.url]


def _dataset(files: list[str], fs: Any) -> ds.Dataset:
    return ds.dataset(files, schema=LABELS, format="parquet", filesystem=fs)


def _not_found(output: Output, table: ds.Dataset, key: str, sample_index: int | None) -> str:
    place = "" if sample_index is None else f" at --sample-index {sample_index}"
    known = table.head(SEARCHED_KEYS, columns=["key"])["key"].to_pylist()
    close = difflib.get_close_matches(key[:200], [name for name in known if len(name) <= 200], n=CHOICES)
    near = f"close to it: {', '.join(map(repr, close))}. " if close else ""
    return (
        f"key {key[:200]!r}{place}: no such sample in {redact(output.url)}; {near}"
        f"List keys with: maskmill query {redact(output.url)} {_LIST_KEYS}"
    )


def _several(key: str, hits: list[dict[str, Any]]) -> str:
    choices = [f"--shard {redact(hit['shard'])} --sample-index {hit['sample_index']}" for hit in hits[:CHOICES]]
    more = f"; and {len(hits) - CHOICES} more" if len(hits) > CHOICES else ""
    return f"key {key[:200]!r}: {len(hits)} samples have it. Add one of: {'; '.join(choices)}{more}"


def _segments(row: dict[str, Any], names: dict[int, str]) -> tuple[FoundSegment, ...]:
    if not row["segments"]:
        return ()
    size = (row["mask_height"], row["mask_width"])
    return tuple(
        FoundSegment(
            vocab_id=segment["vocab_id"],
            name=names.get(segment["vocab_id"], f"id {segment['vocab_id']}"),
            score=segment["score"],
            mask=rle.decode(mask, size),
        )
        for segment, mask in zip(row["segments"], row["masks"], strict=True)
    )


def _sample(
    shard: Shard, scratch: Path, limits: ReadLimits, row: dict[str, Any]
) -> tuple[Image.Image | None, NDArray[np.integer[Any]] | None, list[str]]:
    """Image, ground truth and notes of the row's sample."""
    with open_shard(shard, scratch, limits, extra=(TRUTH_MEMBER,)) as opened:
        for sample in opened.samples:
            if sample.index == row["sample_index"]:
                break
        else:
            raise ShardError("changed", f"it has no sample {row['sample_index']}")
    notes: list[str] = []
    digest = None if sample.image is None else hashlib.sha256(sample.image).digest()
    if digest != row["sha256"] or sample.key != row["key"]:
        notes.append("The shard has changed since it was labeled: this is not the image that the masks belong to.")
    image, truth = None, None
    try:
        image = decode_sample(sample, limits)
    except SampleError as error:
        notes.append(f"The image cannot be decoded: {error}")
    if TRUTH_MEMBER in sample.fields:
        truth = _class_map(sample.fields[TRUTH_MEMBER], limits)
        if truth is None:
            notes.append(f"The ground truth ({TRUTH_MEMBER}) is not a PNG of one class id a pixel.")
    return image, truth, notes


def _class_map(data: bytes, limits: ReadLimits) -> NDArray[np.integer[Any]] | None:
    """Ids of an 8-bit (grey or palette) or 16-bit grey PNG; None for anything else."""
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            if image.mode not in ("L", "P", "I;16") or image.width * image.height > limits.max_pixels:
                return None
            ids: NDArray[np.integer[Any]] = np.asarray(image)
            return ids
    except Exception:  # Pillow raises by the dozen of kinds on hostile data; each means the same here
        return None
