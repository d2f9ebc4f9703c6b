"""Draws one sample as one picture: image, labels, ground truth. Finding the sample is the part of `lookup`."""

import numpy as np
from PIL import Image, ImageDraw

from maskmill.pipeline.showing.fonts import Font, Fonts
from maskmill.pipeline.showing.lookup import Found, FoundSegment
from maskmill.pipeline.showing.masks import Region, draw
from maskmill.pipeline.showing.page import TEXT_SIZE, Column, Entry, compose, wrap
from maskmill.pipeline.showing.palette import colours
from maskmill.pipeline.truth.pairs import TRUTH_MEMBER

SMALLEST, LARGEST = 512, 900
"""Images are enlarged by a whole factor until their short side has about `SMALLEST` pixels, and scaled down where their
long side has more than `LARGEST`."""

LEGEND_LINES = 30
"""Segments that a legend names; the rest is summed up in one line."""


def picture(found: Found, fonts: Fonts, *, smallest: int = SMALLEST, largest: int = LARGEST) -> Image.Image:
    """The picture of a sample: RGB, as large as it takes.

    Args:
        found: the sample.
        fonts: for all text.
        smallest: pixels up to which the short side of its image is enlarged.
        largest: pixels that its long side has at most.
    """
    image = found.image or Image.new("RGB", (256, 256), (225, 225, 225))
    base = _at_drawing_size(image, smallest, largest)
    chosen = _chosen(found)
    columns = [Column(heading=f"image {image.width} x {image.height}" if found.image else "no image", picture=base)]
    columns.append(_labels(found, base, chosen, fonts.at(TEXT_SIZE)))
    if found.truth is not None:
        columns.append(_truth(found, base, chosen, fonts.at(TEXT_SIZE)))
    return compose(
        title=found.caption or "(no caption)",
        subtitle=f"key {found.key}, sample {found.sample_index} of {found.shard}",
        notes=found.notes,
        columns=columns,
        fonts=fonts,
    )


def _at_drawing_size(image: Image.Image, smallest: int, largest: int) -> Image.Image:
    factor = max(1.0, float(-(-smallest // min(image.size)) if min(image.size) < smallest else 1))
    # A long image is not enlarged past the limit, and any larger one is scaled down to it.
    while factor > 1 and factor * max(image.size) > largest:
        factor -= 1
    factor = min(factor, largest / max(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _chosen(found: Found) -> dict[str, tuple[int, int, int]]:
    """A colour for each name: a class has the same one among labels and in the ground truth."""
    by_area = sorted(found.segments, key=lambda segment: -int(segment.mask.sum()))
    ids = {segment.name: segment.vocab_id for segment in by_area}
    for vocab_id, name in found.truth_names.items():
        ids.setdefault(name, vocab_id)
    palette = colours(ids.values())
    return {name: palette[vocab_id] for name, vocab_id in ids.items()}


def _labels(found: Found, base: Image.Image, chosen: dict[str, tuple[int, int, int]], font: Font) -> Column:
    if found.error is not None:
        return Column(heading="failed sample", picture=_error(base, found.error, font))
    segments = sorted(found.segments, key=lambda segment: -int(segment.mask.sum()))
    regions = [
        Region(
            mask=segment.mask,
            colour=chosen[segment.name],
            tag=f"{number} {segment.name} {segment.score:.2f}",
            short_tag=str(number),
        )
        for number, segment in enumerate(segments, 1)
    ]
    agreed = any(segment.agreement is not None for segment in segments)
    legend = [
        Entry(
            colour=region.colour,
            name=f"{number} {segment.name}",
            values=(f"{segment.score:.2f}", *([_agreement(segment)] if agreed else []), _percent(region.share)),
        )
        for number, (segment, region) in enumerate(zip(segments, regions, strict=True), 1)
    ]
    if len(legend) > LEGEND_LINES:
        rest = regions[LEGEND_LINES - 1 :]
        area = _percent(sum(region.share for region in rest))
        legend = [
            *legend[: LEGEND_LINES - 1],
            Entry(colour=None, name=f"{len(rest)} more", values=("", *([""] if agreed else []), area)),
        ]
    if found.left_out:
        legend.append(Entry(colour=None, name=f"{found.left_out} left out by the filter"))
    return Column(
        heading=f"labels: {len(segments)} segment{'' if len(segments) == 1 else 's'}",
        picture=draw(base, regions, font),
        heads=("score", *(["agreement"] if agreed else []), "area") if segments else (),
        legend=tuple(legend) or (Entry(colour=None, name="nothing was found"),),
    )


def _truth(found: Found, base: Image.Image, chosen: dict[str, tuple[int, int, int]], font: Font) -> Column:
    assert found.truth is not None
    ids, pixels = np.unique(found.truth[found.truth >= 0], return_counts=True)
    order = np.argsort(-pixels, kind="stable")
    regions = [
        Region(
            mask=found.truth == vocab_id,
            colour=chosen[found.truth_names[vocab_id]],
            tag=found.truth_names[vocab_id],
            short_tag="",
        )
        for vocab_id in ids[order][:LEGEND_LINES].tolist()
    ]
    legend = [Entry(colour=region.colour, name=region.tag, values=(_percent(region.share),)) for region in regions]
    if len(ids) > len(regions):
        legend.append(Entry(colour=None, name=f"{len(ids) - len(regions)} more"))
    legend.append(Entry(colour=None, name=f"{TRUTH_MEMBER}, read as ids of the run's vocabulary"))
    return Column(heading="ground truth", picture=draw(base, regions, font), heads=("area",), legend=tuple(legend))


def _agreement(segment: FoundSegment) -> str:
    return "-" if segment.agreement is None else f"{segment.agreement:.2f}"


def _percent(share: float) -> str:
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def _error(base: Image.Image, error: str, font: Font) -> Image.Image:
    """What stands in the place of labels: the image, faint, with the error over it."""
    drawn = Image.blend(base, Image.new("RGB", base.size, (240, 240, 240)), 0.8)
    lines = wrap(error, font, base.width - 40, 12)
    canvas = ImageDraw.Draw(drawn)
    for number, line in enumerate(lines):
        y = base.height / 2 + (number - (len(lines) - 1) / 2) * (TEXT_SIZE + 8)
        font.draw(canvas, (base.width / 2, y), line, fill=(176, 20, 20), anchor="mm")
    return drawn
