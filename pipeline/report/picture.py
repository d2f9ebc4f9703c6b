"""Makes the pictures of a report: an image as a small JPEG, its masks at the same size. Which ones is choice.py's."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.masks import rle
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.reading.errors import ShardError
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.report import regions
from maskmill.pipeline.report.choice import Choice
from maskmill.pipeline.report.page import embedded, short
from maskmill.pipeline.report.regions import SEGMENTS, rounded
from maskmill.pipeline.report.sample import Span
from maskmill.pipeline.report.truth import compare
from maskmill.pipeline.shards.moved import UNMOVED, ShardsAt
from maskmill.pipeline.shards.shard import describe
from maskmill.pipeline.showing.palette import colours
from maskmill.pipeline.showing.source import Original, TruthFormat, originals
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.table.filters import BoundFilter
from maskmill.pipeline.table.footer import FooterError
from maskmill.pipeline.table.label_table import LabelTable, ShardRows

SIDES = (640, 512, 384, 256, 160)
"""Long sides of a picture in pixels; the first at which it keeps to its bytes is taken."""

CAPTION, KEY = 400, 255
"""Characters of a caption and a key that a page shows."""

_QUALITY = 82
_SHARDS_AT_ONCE = 2  # each may hold a decoded image of hundreds of megabytes
_ROWS_AT_ONCE = 32
_COLUMNS = [
    "key", "shard", "sample_index", "sha256", "width", "height", "mask_width", "mask_height", "caption", "segments",
    "masks",
]  # fmt: skip

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """The pictures of a report."""

    pictures: tuple[dict[str, Any], ...]
    """As the page's scripts read them, in the order of the choices."""

    gone: Mapping[str, str]
    """Shard -> why its images can't be read: its samples are shown as masks alone, or not at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawer:
    """Makes pictures of a run's samples."""

    table: LabelTable
    """The label files."""

    keep: BoundFilter
    """Which segments are shown."""

    vocabulary: Vocabulary
    """Names them."""

    limits: ReadLimits
    """What the run was labeled with."""

    truth: TruthFormat
    """How the ground truth of samples is read."""

    scratch: Path
    """An existing local folder, for shards that have to be fetched."""

    most_bytes: int
    """Of one picture as it stands in the page."""

    moved: ShardsAt = UNMOVED
    """Where the shards lie now."""

    def draw(self, spans: Sequence[Span], choices: Sequence[Choice]) -> Pictures:
        """The pictures of some samples; each source shard is opened once.

        Args:
            spans: what the choices' spans are.
            choices: which samples.

        Raises:
            OutputError: the store of the label table doesn't answer.
        """
        by_shard: dict[str, dict[int, Choice]] = {}
        for choice in choices:
            by_shard.setdefault(spans[choice.span].shard, {})[choice.row] = choice
        made: dict[int, dict[str, Any]] = {}
        gone: dict[str, str] = {}

        def one(url: str) -> None:
            wanted = by_shard[url]
            try:
                rows = {row["sample_index"]: row for row in _rows(self.table, url, sorted(wanted), self.limits)}
                first = self.table.of_first_version(url)
            except (FooterError, FileNotFoundError, ValueError, pa.ArrowException):
                gone[redact(url)] = "its label file is damaged; `maskmill verify` says more"
                return
            try:
                shard = describe(self.moved.source(url))
                for original in originals(
                    shard, self.scratch, self.limits, rows, truth=self.truth, first_version=first
                ):
                    index = original.sample_index
                    made[wanted[index].place] = self.picture(rows[index], original, wanted[index])
            except (ShardError, UsageError, EnvironmentFailure) as error:
                gone[redact(url)] = short(redact(str(error)), 300)
            for index, row in rows.items():
                if wanted[index].place not in made:
                    made[wanted[index].place] = self.picture(row, None, wanted[index])

        with ThreadPoolExecutor(_SHARDS_AT_ONCE) as threads:
            list(threads.map(one, by_shard))
        ordered = (made[choice.place] for choice in choices if choice.place in made)
        return Pictures(pictures=tuple(ordered), gone=dict(sorted(gone.items())))

    def picture(self, row: Row, original: Original | None, choice: Choice) -> dict[str, Any]:
        """A picture as the page has it, no longer than `most_bytes` there."""
        image = original.image if original is not None and original.same else None
        places = [place for place, segment in enumerate(row["segments"]) if self.keep.keeps(segment)]
        places.sort(key=lambda place: -row["segments"][place]["area"])
        notes = [] if original is None else [short(note, 300) for note in original.notes]
        truth = None if image is None or original is None else original.truth
        compared = None
        try:
            masks = {place: rle.decode(row["masks"][place], _mask_size(row)) for place in places[:SEGMENTS]}
            if truth is not None:
                compared = compare(row, places, truth, len(self.vocabulary))
        except (ValueError, IndexError, TypeError):
            masks, places, truth = {}, [], None
            notes.append("Its masks are damaged; `maskmill verify --deep` says more.")
        shown = places[:SEGMENTS]
        true_ids = [] if truth is None else regions.classes_of(truth)
        drawn = regions.Regions(
            vocabulary=self.vocabulary,
            palette=colours([*(row["segments"][place]["vocab_id"] for place in shown), *true_ids]),
            iou={} if compared is None else compared.by_class,
        )
        sizes = dict.fromkeys(_fitting(row["width"], row["height"], side) for side in SIDES)
        for size in sizes:
            made = {
                "key": short(row["key"], KEY),
                "shard": short(redact(row["shard"]), 300),
                "index": row["sample_index"],
                "caption": None if row["caption"] is None else short(row["caption"], CAPTION),
                "width": row["width"],
                "height": row["height"],
                "shownWidth": size[0],
                "shownHeight": size[1],
                "groups": choice.groups,
                "confidence": choice.confidence,
                "jpeg": None if image is None else _jpeg(image, size),
                "notes": notes,
                "segments": drawn.labels(row, shown, masks, size),
                "left": len(places) - len(shown),
                "dropped": len(row["segments"]) - len(places),
                "truth": None
                if truth is None or compared is None
                else {
                    "iou": rounded(compared.iou),
                    "accuracy": rounded(compared.accuracy),
                    "segments": drawn.truth(truth, true_ids, size),
                },
            }
            if len(embedded(made)) <= self.most_bytes:
                return made
        # At the smallest size: masks of a thousand islands are larger than the image.
        if made["truth"] is not None:
            made["truth"]["segments"] = []
        while len(embedded(made)) > self.most_bytes and made["segments"]:
            made["segments"] = made["segments"][: len(made["segments"]) // 2]
            made["left"] = len(places) - len(made["segments"])
        if len(embedded(made)) > self.most_bytes:
            # Only where a page has hundreds of pictures of noise with captions in far scripts.
            made |= {"jpeg": None, "caption": None, "truth": None, "notes": ["Left out: there was no room for it."]}
        return made


def _rows(table: LabelTable, shard: str, wanted: Sequence[int], limits: ReadLimits) -> Iterator[dict[str, Any]]:
    """Rows of a shard, masks included; of its row groups only those with wanted rows are read.

    Raises:
        ValueError: a row isn't that of a labeled sample at its place.
        FooterError, FileNotFoundError, OutputError: as `LabelTable.batches`.
    """
    rows = table.rows_of(shard)
    if rows is None:
        raise FooterError("its label file is gone")
    first, left = wanted[0], set(wanted)
    place = ShardRows(url=rows.url, first=rows.first + first, count=wanted[-1] - first + 1)
    for batch in table.batches(place, _COLUMNS, _ROWS_AT_ONCE):
        for offset in range(batch.num_rows):
            if first + offset in left:
                row = batch.slice(offset, 1).to_pylist()[0]
                if row["sample_index"] != first + offset or not _sound(row, limits):
                    raise ValueError(f"row {first + offset} isn't that of a labeled sample")
                yield row
        first += batch.num_rows


def _sound(row: Row, limits: ReadLimits) -> bool:
    """Whether sizes and segments are there, and of sizes that an image of the run can have had."""
    sides = [row[name] for name in ("width", "height", "mask_width", "mask_height")]
    return (
        all(side is not None and side > 0 for side in sides)
        and max(sides[0] * sides[1], sides[2] * sides[3]) <= limits.max_pixels
        and row["segments"] is not None
        and None not in row["segments"]
    )


def _jpeg(image: Image.Image, size: tuple[int, int]) -> str:
    data = BytesIO()
    image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0).save(data, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(data.getvalue()).decode()


def _fitting(width: int, height: int, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _mask_size(row: Row) -> tuple[int, int]:
    return row["mask_height"], row["mask_width"]
