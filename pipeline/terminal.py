"""What is printed for people: lines of which no character acts on a terminal, also where their text comes from data."""

import logging
import re
import sys
import unicodedata
from collections.abc import Iterable
from io import TextIOWrapper
from typing import TextIO

from maskmill.models.disk import disk_errors
from maskmill.pipeline.steps import Steps

_ACTING = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
"""Unicode's categories of controls (escape sequences, line ends, C1), formats (direction, zero width), surrogates,
private use, and separators of lines and paragraphs."""

_CANDIDATES = re.compile(r"[^ -~]")


def escaped(text: str) -> str:
    """The text with what acts on a terminal or doesn't show written as Python writes it: `\\x1b`, `\\n`, `\\u202e`."""
    if text.isprintable():
        return text
    return _CANDIDATES.sub(lambda match: _python(match[0]) if acts(match[0]) else match[0], text)


def escaped_json(text: str) -> str:
    """A JSON text that means the same, with such characters in its strings written as `\\u001b`; its lines stay."""
    if text.isprintable():
        return text
    return _CANDIDATES.sub(lambda match: _json(match[0]) if match[0] != "\n" and acts(match[0]) else match[0], text)


def acts(character: str) -> bool:
    """Whether a character does something else on a terminal than show."""
    return unicodedata.category(character) in _ACTING


def print_lines(*lines: object, to: TextIO | None = None) -> None:
    """Print lines, escaped: a line end inside one of them is no line end.

    Args:
        lines: texts, or what has one.
        to: where; stdout by default.
    """
    Steps.clear()
    file = sys.stdout if to is None else to
    with disk_errors("standard output"):
        file.writelines(f"{escaped(str(line))}\n" for line in lines)
        file.flush()


def print_json(text: str) -> None:
    """Print a JSON text, of any number of lines (see `escaped_json`)."""
    print_pieces((escaped_json(text), "\n"))


def print_pieces(pieces: Iterable[str]) -> None:
    """Print pieces of a text that is escaped already, line ends among them, as they come."""
    Steps.clear()
    with disk_errors("standard output"):
        sys.stdout.writelines(pieces)


def print_error(*lines: object) -> None:
    """Print lines to stderr (see `print_lines`)."""
    print_lines(*lines, to=sys.stderr)


class EscapedLines(logging.Formatter):
    """A record's message as one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, escaped."""
        return escaped(super().format(record))


def protect() -> None:
    """Escape warnings that no log was set up for, and never fail for a character that the terminal lacks."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(EscapedLines())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _python(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
