"""Sets pictures with their legends side by side on one light page. It knows columns and lines, not samples."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from maskmill.pipeline.showing.fonts import Font, Fonts, printable
from maskmill.pipeline.showing.palette import Colour

TEXT_SIZE = 20
"""Of legends and notes, in pixels."""

_TITLE_SIZE, _HEAD_SIZE = 28, 22
_MARGIN, _GAP, _LINE, _SWATCH = 24, 28, 30, 18
_GROUND, _INK, _FAINT, _ALARM = (252, 252, 250), (24, 24, 28), (105, 105, 112), (176, 20, 20)
_TITLE_LINES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of a legend."""

    colour: Colour | None
    """Of the square before it; None for a line without one."""

    name: str
    """On the left; cut where the column ends."""

    values: tuple[str, ...] = ()
    """On the right, one under another from entry to entry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A picture with a heading over it and a legend under it."""

    heading: str
    """One line."""

    picture: Image.Image
    """RGB; all columns of a page have pictures of one size."""

    heads: tuple[str, ...] = ()
    """Headings of the legend's values."""

    legend: tuple[Entry, ...] = ()
    """From top to bottom."""


def compose(*, title: str, subtitle: str, notes: Sequence[str], columns: Sequence[Column], fonts: Fonts) -> Image.Image:
    """The page: title, subtitle, notes in red, then the columns.

    Args:
        title: wrapped; cut after four lines.
        subtitle: small print, wrapped.
        notes: what must not be overlooked, each wrapped.
        columns: one at least.
        fonts: for all text.

    Returns:
        RGB, as large as it takes.
    """
    width = 2 * _MARGIN + sum(column.picture.width for column in columns) + _GAP * (len(columns) - 1)
    inner = width - 2 * _MARGIN
    of_size = {size: fonts.at(size) for size in (_TITLE_SIZE, _HEAD_SIZE, TEXT_SIZE)}
    written: list[tuple[str, int, Colour]] = [
        *((line, _TITLE_SIZE, _INK) for line in wrap(title, of_size[_TITLE_SIZE], inner, _TITLE_LINES)),
        *((line, TEXT_SIZE, _FAINT) for line in wrap(subtitle, of_size[TEXT_SIZE], inner, _TITLE_LINES)),
        *((line, TEXT_SIZE, _ALARM) for note in notes for line in wrap(note, of_size[TEXT_SIZE], inner, _TITLE_LINES)),
    ]
    top = _MARGIN + sum(size + 10 for _, size, _ in written) + 14
    tallest = max(_HEAD_SIZE + 12 + column.picture.height + 14 + _LINE * _legend_lines(column) for column in columns)
    page = Image.new("RGB", (width, top + tallest + _MARGIN), _GROUND)
    canvas = ImageDraw.Draw(page)
    y = _MARGIN
    for line, size, colour in written:
        of_size[size].draw(canvas, (_MARGIN, y), line, fill=colour)
        y += size + 10
    x = _MARGIN
    for column in columns:
        _column(page, canvas, column, (x, top), of_size)
        x += column.picture.width + _GAP
    return page


def wrap(text: str, font: Font, width: float, most: int) -> list[str]:
    """The text in lines of at most `width` pixels; the last of `most` ends in an ellipsis where more would follow.

    Whatever cannot be printed becomes a space; a word longer than a line is broken.
    """
    lines: list[str] = []
    line = ""
    for word in printable(text[:5000]).split():
        candidate = f"{line} {word}" if line else word
        if font.length(candidate) <= width:
            line = candidate
            continue
        if line:
            lines.append(line)
        line = word
        while font.length(line) > width and len(lines) <= most:
            fits = max(1, font.fitting(line, width))
            lines.append(line[:fits])
            line = line[fits:]
        if len(lines) > most:
            break
    lines.append(line)
    if len(lines) > most:
        lines = [*lines[: most - 1], cut(lines[most - 1] + "…", font, width, always=True)]
    return lines


def cut(text: str, font: Font, width: float, *, always: bool = False) -> str:
    """The text, ending in an ellipsis where it would be wider than `width` pixels (or `always` had one)."""
    if font.length(text) <= width:
        return text
    text = text.rstrip("…") if always else text
    return text[: font.fitting(text, width - font.length("…"))] + "…"


def _legend_lines(column: Column) -> int:
    return len(column.legend) + bool(column.heads)


def _column(
    page: Image.Image, canvas: ImageDraw.ImageDraw, column: Column, at: tuple[int, int], fonts: dict[int, Font]
) -> None:
    x, y = at
    width, font = column.picture.width, fonts[TEXT_SIZE]
    fonts[_HEAD_SIZE].draw(canvas, (x, y), cut(column.heading, fonts[_HEAD_SIZE], width), fill=_INK)
    y += _HEAD_SIZE + 12
    page.paste(column.picture, (x, y))
    canvas.rectangle((x - 1, y - 1, x + width, y + column.picture.height), outline=(200, 200, 200))
    y += column.picture.height + 14

    # Each value column is as wide as its widest text, from the right edge inwards.
    count = max((len(entry.values) for entry in column.legend), default=0)
    rows = [column.heads, *(entry.values for entry in column.legend)]
    widths = [max(font.length(row[i]) for row in rows if i < len(row)) + 22 for i in range(count)]
    ends = [x + width - sum(widths[i + 1 :]) for i in range(count)]
    if column.heads:
        for end, head in zip(ends, column.heads, strict=True):
            font.draw(canvas, (end, y), head, fill=_FAINT, anchor="ra")
        y += _LINE
    for entry in column.legend:
        start = x
        if entry.colour is not None:
            canvas.rectangle((x, y + 1, x + _SWATCH, y + 1 + _SWATCH), fill=entry.colour, outline=(90, 90, 90))
            start = x + _SWATCH + 10
        room = x + width - start - sum(widths[:count] if entry.values else [])
        ink = _INK if entry.colour is not None else _FAINT
        font.draw(canvas, (start, y), cut(entry.name, font, room), fill=ink)
        for end, value in zip(ends, entry.values, strict=False):
            font.draw(canvas, (end, y), value, fill=ink, anchor="ra")
        y += _LINE
