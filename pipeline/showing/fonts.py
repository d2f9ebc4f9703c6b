"""Text in pictures: finds fonts on this machine that have its letters, and draws it with them. It ships no font.

Pillow's own font has little beyond ASCII. What it lacks is looked for in the folders where systems keep fonts; a letter
that no font has stays a box, and a warning says what to install.
"""

import functools
import itertools
import os
import re
import sys
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import ImageDraw, ImageFont

from maskmill.pipeline.showing.palette import Colour

MOST_FONTS = 400
"""Font files that are tried for a letter, the likeliest first."""

_LIKELY = (
    "dejavusans.",
    "notosans-regular",
    "notosanscjk-regular",
    "arialunicode",
    "arial unicode",
    "liberationsans-regular",
)
"""Beginnings of the names of files with many scripts in an upright face; then come all `regular` ones."""

_KINDS = (".ttf", ".otf", ".ttc")
_PACKAGES = {
    "CJK": "fonts-noto-cjk",
    "HIRAGANA": "fonts-noto-cjk",
    "KATAKANA": "fonts-noto-cjk",
    "HANGUL": "fonts-noto-cjk",
    "BOPOMOFO": "fonts-noto-cjk",
    "LATIN": "fonts-dejavu-core",
    "CYRILLIC": "fonts-dejavu-core",
    "GREEK": "fonts-dejavu-core",
    "SYMBOLS": "fonts-symbola",
}
_OTHER_PACKAGE = "fonts-noto-core"
_NO_LETTER = "\U0010ffff"
_JOINERS = "\u200c\u200d"


def system_folders() -> list[Path]:
    """Where this system and this user keep fonts."""
    home = Path.home()
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    if sys.platform == "win32":
        return [
            Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts",
            Path(os.environ.get("LOCALAPPDATA", str(home))) / "Microsoft/Windows/Fonts",
        ]
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    mine = os.environ.get("XDG_DATA_HOME") or str(home / ".local/share")
    return [*(Path(folder) / "fonts" for folder in [*shared.split(":"), mine]), home / ".fonts"]


class Fonts:
    """The fonts of some folders, and which letters none of them has."""

    def __init__(self, folders: Iterable[Path] | None = None) -> None:
        """Looks at nothing until a letter is missing in Pillow's font.

        Args:
            folders: searched for font files, with their subfolders; default: `system_folders`.
        """
        self._folders = folders
        self._files: list[Path] | None = None
        self._missing: dict[str, None] = {}

    def at(self, size: int) -> "Font":
        """These fonts at a size in pixels."""
        return Font(self, size)

    @property
    def warnings(self) -> list[str]:
        """What could not be drawn so far: a line for each package of fonts that would help."""
        by_package: dict[str, dict[str, str]] = {}
        for letter in self._missing:
            script = _script(letter)
            by_package.setdefault(_PACKAGES.get(script, _OTHER_PACKAGE), {}).setdefault(script, f"{script} ({letter})")
        return [
            f"no font here for {', '.join(scripts.values())}: such letters are boxes. "
            f"Install one, for instance: apt-get install {package}"
            for package, scripts in by_package.items()
        ]

    def whole(self, text: str) -> Path | None:
        """The font file that has all of a text; None: Pillow's own font.

        Raises:
            LookupError: none has.
        """
        if _has(None, text):
            return None
        for file in self._all():
            if _has(file, text):
                return file
        raise LookupError(text)

    def some(self, cluster: str) -> Path | None:
        """The font file that has a letter with its marks, else the letter; Pillow's own font, None, where none has."""
        for letters in (cluster, cluster[0]):
            try:
                return self.whole(letters)
            except LookupError:
                continue
        self._missing[cluster[0]] = None
        return None

    def _all(self) -> list[Path]:
        if self._files is None:
            folders = system_folders() if self._folders is None else self._folders
            found = [file for folder in folders for file in _font_files(folder)]
            self._files = sorted(dict.fromkeys(found), key=_likelihood)[:MOST_FONTS]
        return self._files


class Font:
    """Text of one size, in whichever fonts it takes."""

    def __init__(self, fonts: Fonts, size: int) -> None:
        self._fonts, self._size = fonts, size

    def length(self, text: str) -> float:
        """Width of a line in pixels."""
        return sum(face.getlength(run) for run, face in self._runs(text))

    def fitting(self, text: str, width: float) -> int:
        """How many of its first characters have at most this width."""
        return bisect_right(range(1, len(text) + 1), width, key=lambda end: self.length(text[:end]))

    def box(self, text: str) -> tuple[float, float]:
        """Width and height of a line's ink, in pixels."""
        boxes = [face.getbbox(run) for run, face in self._runs(text)]
        return self.length(text), max((bottom - top for _, top, _, bottom in boxes), default=0)

    def draw(
        self, canvas: ImageDraw.ImageDraw, at: tuple[float, float], text: str, *, fill: Colour, anchor: str = "la"
    ) -> None:
        """Draw one line.

        Args:
            canvas: drawn on.
            at: x, y of the anchor.
            text: whatever can't be printed is left out.
            fill: its colour.
            anchor: Pillow's: la (its left end, top), ra (right end, top) or mm (its middle).
        """
        ascent, descent = _face(None, self._size).getmetrics()
        x = at[0] - self.length(text) * {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]]
        baseline = at[1] + (ascent if anchor[1] == "a" else (ascent - descent) / 2)
        for run, face in self._runs(text):
            canvas.text((x, baseline), run, fill=fill, font=face, anchor="ls")
            x += face.getlength(run)

    def _runs(self, text: str) -> Iterator[tuple[str, ImageFont.FreeTypeFont]]:
        """The text in runs, each with the font that draws it: one for all, else for each word, else letter."""
        for run, file in _joined(self._pieces(printable(text))):
            yield run, _face(file, self._size)

    def _pieces(self, text: str) -> Iterator[tuple[str, Path | None]]:
        try:
            yield text, self._fonts.whole(text)
            return
        except LookupError:
            pass
        for word in re.findall(r"\S+\s*|\s+", text):
            try:
                yield word, self._fonts.whole(word)
            except LookupError:
                yield from ((cluster, self._fonts.some(cluster)) for cluster in _clusters(word))


def printable(text: str) -> str:
    """The text on one line: a space for whatever cannot be printed, which right-to-left marks and line ends are."""
    return "".join(letter if letter.isprintable() or letter in _JOINERS else " " for letter in text)


def _clusters(text: str) -> Iterator[str]:
    """Letters, each with the marks that belong to it."""
    start = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or not (unicodedata.category(text[place]).startswith("M") or text[place] in _JOINERS):
            yield text[start:place]
            start = place


def _joined(pieces: Iterable[tuple[str, Path | None]]) -> Iterator[tuple[str, Path | None]]:
    """Neighbours of one font made one, so that their letters are shaped together."""
    for file, run in itertools.groupby(pieces, key=lambda piece: piece[1]):
        yield "".join(text for text, _ in run), file


@functools.lru_cache(maxsize=256)
def _face(file: Path | None, size: int) -> ImageFont.FreeTypeFont:
    if file is None:
        face = ImageFont.load_default(size=size)
        assert isinstance(face, ImageFont.FreeTypeFont), "Pillow's wheels have FreeType"
        return face
    return ImageFont.truetype(file, size)


@functools.lru_cache(maxsize=65536)
def _has_letter(file: Path | None, letter: str) -> bool:
    """Whether a font draws a letter otherwise than a letter that no font has."""
    plain = _plain_face(file)
    return plain is not None and _ink(plain, letter) != _ink(plain, _NO_LETTER)


@functools.lru_cache(maxsize=MOST_FONTS)
def _plain_face(file: Path | None) -> ImageFont.FreeTypeFont | None:
    """A font that shapes nothing: a glyph for each letter; None for a file that is no scalable font."""
    try:
        face = _face(None, 20) if file is None else ImageFont.truetype(file, 20)
        plain: ImageFont.FreeTypeFont = face.font_variant(layout_engine=ImageFont.Layout.BASIC)
        plain.getmask("a")
    except (OSError, ValueError):  # a damaged file; colour fonts of fixed sizes
        return None
    return plain


def _ink(face: ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = face.getmask(letter)
    return mask.size, bytes(mask)


def _has(file: Path | None, text: str) -> bool:
    return all(_invisible(letter) or _has_letter(file, letter) for letter in dict.fromkeys(text))


def _invisible(letter: str) -> bool:
    return letter.isspace() or letter in _JOINERS or "\ufe00" <= letter <= "\ufe0f"  # variation selectors


def _font_files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(place) / name for name in sorted(names) if name.lower().endswith(_KINDS))


def _likelihood(file: Path) -> tuple[int, int, str]:
    name = file.name.lower()
    place = next((place for place, likely in enumerate(_LIKELY) if name.startswith(likely)), len(_LIKELY))
    return place, "regular" not in name, name


def _script(letter: str) -> str:
    """What to call the writing that a letter belongs to: the first word of its name in Unicode, as CYRILLIC or CJK."""
    if unicodedata.category(letter)[0] in "LM":
        return re.split(r"[ -]", unicodedata.name(letter, "OTHER"))[0]
    return (
        "CJK" if unicodedata.category(letter)[0] == "P" and unicodedata.east_asian_width(letter) in "WF" else "SYMBOLS"
    )
