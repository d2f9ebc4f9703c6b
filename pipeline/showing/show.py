"""Shows samples of a run as PNGs: one sample, several on a sheet, or a file each. One picture is drawing.py's part."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

from PIL import Image

from maskmill.models.errors import UsageError
from maskmill.pipeline import run
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards.moved import UNMOVED, ShardsAt
from maskmill.pipeline.showing.drawing import picture
from maskmill.pipeline.showing.fonts import Fonts
from maskmill.pipeline.showing.lookup import Found, Place, locate, read
from maskmill.pipeline.showing.search import search
from maskmill.pipeline.showing.write import write
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.table.filters import BoundFilter, SegmentFilter
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run
from maskmill.pipeline.truth.class_map import TruthIds

LIMIT = 6
"""Samples that a filter shows unless told otherwise."""

MOST_ON_A_SHEET = 24
"""More would be a picture of hundreds of megabytes."""

_SMALL = (300, 480)
"""Smallest and largest side of an image on a sheet, see `drawing.picture`."""

_GAP, _GROUND = 2, (214, 214, 210)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A sample that was drawn."""

    found: Found
    """What was drawn."""

    png: Path
    """Where it is."""

    warnings: tuple[str, ...] = ()
    """What is wrong with the pictures drawn so far: letters that no font has."""


def show(url: str, key: str, png: Path, *, sample_index: int | None = None, shard: str | None = None) -> Found:
    """Draw one sample: its image, its masks in colour with names and scores, and the ground truth where there is one.

    Args:
        url: OUT of the run.
        key: webdataset's `__key__` of the sample.
        png: where the picture goes; an existing file is replaced.
        sample_index: chooses among samples of one key.
        shard: URL; chooses among shards.

    Returns:
        What was drawn.

    Raises:
        UsageError: the sample isn't found, is not one, or cannot be read any more; the picture cannot be written.
    """
    output = Output.of(url)
    place = locate(output, key, sample_index=sample_index, shard=shard)
    (shown,) = show_all(output, [place], png)
    return shown.found


def places(
    output: Output,
    keys: Sequence[str],
    keep: SegmentFilter,
    *,
    limit: int | None = None,
    sample_index: int | None = None,
    shard: str | None = None,
) -> tuple[list[Place], BoundFilter | None]:
    """The samples that a command line means, and the filter for their segments (None where it lets everything pass).

    Args:
        output: of the run.
        keys: webdataset's `__key__`s; none: the first samples of the table with a segment that passes.
        keep: the filter.
        limit: most samples; without keys `LIMIT`, if None.
        sample_index: chooses among samples of one key.
        shard: URL; chooses among shards.

    Raises:
        UsageError: neither keys nor a filter nor a limit, a key that names no sample or several, a filter that doesn't
            fit the run, or no sample that passes it.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: expected 1 or more.")
    if sample_index is not None and not 0 <= sample_index < 2**31:
        raise UsageError(f"--sample-index {sample_index}: expected a position in the shard, from 0.")
    plain = keep == SegmentFilter()
    if not keys and plain and limit is None:
        raise UsageError("KEYS: none given. Name samples by their keys, or a filter such as --classes, or --limit N.")
    if keys:
        found = [locate(output, key, sample_index=sample_index, shard=shard) for key in dict.fromkeys(keys)][:limit]
        return found, None if plain else _bound(output, keep)
    if sample_index is not None or shard is not None:
        raise UsageError("--sample-index, --shard: they choose among samples of a key. Name a key too.")
    bound = None if plain else _bound(output, keep)
    found = list(islice(search(output, bound, classes=len(vocabulary_of_run(output))), limit or LIMIT))
    if not found:
        raise UsageError(
            f"{redact(output.url)}: no segment passes this filter. Ask for less, e.g. a lower --min-score."
        )
    return found, bound


def show_all(
    output: Output,
    chosen: Sequence[Place],
    png: Path,
    keep: BoundFilter | None = None,
    moved: ShardsAt = UNMOVED,
    *,
    truth_ids: TruthIds = "vocabulary",
) -> list[Shown]:
    """Draw samples into one file; several are drawn smaller, side by side, in the order of the places.

    `keep`, `moved` and `truth_ids` are those of `lookup.read`.

    Raises:
        UsageError: too many for one picture, a shard cannot be read any more, or the picture cannot be written.
    """
    if len(chosen) > MOST_ON_A_SHEET:
        raise UsageError(
            f"{len(chosen)} samples on one sheet: expected {MOST_ON_A_SHEET} at most. Give each its own file: --each."
        )
    drawn: dict[tuple[str, int], tuple[Found, Image.Image]] = {}
    fonts = Fonts()
    sides = {} if len(chosen) == 1 else {"smallest": _SMALL[0], "largest": _SMALL[1]}
    for found in read(output, chosen, keep, moved, truth_ids=truth_ids):
        drawn[found.shard, found.sample_index] = (found, picture(found, fonts, **sides))
    ordered = [drawn[place.shard, place.sample_index] for place in chosen]
    write(png, _png(ordered[0][1] if len(ordered) == 1 else _sheet([made for _, made in ordered])))
    return [Shown(found=found, png=png, warnings=tuple(fonts.warnings)) for found, _ in ordered]


def show_each(
    output: Output,
    chosen: Sequence[Place],
    folder: Path,
    keep: BoundFilter | None = None,
    moved: ShardsAt = UNMOVED,
    *,
    truth_ids: TruthIds = "vocabulary",
) -> Iterator[Shown]:
    """Draw samples into one file each, in a folder, named after their keys; one sample in memory at a time.

    `keep`, `moved` and `truth_ids` are those of `lookup.read`.

    Raises:
        UsageError: a shard cannot be read any more, or a picture cannot be written.
    """
    taken: set[str] = set()
    fonts = Fonts()
    for found in read(output, chosen, keep, moved, truth_ids=truth_ids):
        # Keys come from data: a name never leaves the folder, hides, or runs past what file systems take.
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", found.key).lstrip(".")[:100] or "sample"
        names = (plain if number == 1 else f"{plain}-{number}" for number in range(1, len(chosen) + 1))
        name = next(name for name in names if name.lower() not in taken)
        taken.add(name.lower())
        png = folder / f"{name}.png"
        write(png, _png(picture(found, fonts)))
        yield Shown(found=found, png=png, warnings=tuple(fonts.warnings))


def _bound(output: Output, keep: SegmentFilter) -> BoundFilter:
    identity = run.require(output)["identity"]
    return keep.bound(
        vocabulary_of_run(output), identity.get("inference", "general"), agreement=run.has_agreement(identity)
    )


def _sheet(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures in rows of two; each row is as high as its highest."""
    rows = [pictures[start : start + 2] for start in range(0, len(pictures), 2)]
    widths = [max(row[place].width for row in rows if place < len(row)) for place in range(min(2, len(pictures)))]
    heights = [max(made.height for made in row) for row in rows]
    sheet = Image.new("RGB", (sum(widths) + _GAP * (len(widths) - 1), sum(heights) + _GAP * (len(rows) - 1)), _GROUND)
    y = 0
    for row, height in zip(rows, heights, strict=True):
        for place, made in enumerate(row):
            cell = Image.new("RGB", (widths[place], height), made.getpixel((0, 0)))
            cell.paste(made, (0, 0))
            sheet.paste(cell, (sum(widths[:place]) + _GAP * place, y))
        y += height + _GAP
    return sheet


def _png(made: Image.Image) -> bytes:
    data = BytesIO()
    made.save(data, "PNG")
    return data.getvalue()
