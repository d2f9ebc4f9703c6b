"""Brace ranges in names, `{000..099}` and `{a,b}`: counted before any name is made. Knows nothing of files."""

import re
from collections.abc import Iterable

from maskmill.models.errors import UsageError
from maskmill.models.redaction import redact

MAX_NAMES = 10_000_000
"""Most names that one pattern may stand for."""

MAX_CHARACTERS = 2**31
"""Most characters that the names of one pattern may have together, as names times the pattern's length."""

_INTEGERS = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.-?(\d+))?")
_LETTERS = re.compile(r"[A-Za-z]\.\.[A-Za-z](?:\.\.-?\d+)?")


def expand_braces(pattern: str) -> Iterable[str]:
    """The names that a pattern stands for, by bash's rule; the pattern itself where it has no braces.

    Raises:
        UsageError: braces that don't match, or more names than `MAX_NAMES`.
    """
    if "{" not in pattern:
        return (pattern,)
    from braceexpand import braceexpand

    try:
        count = _count(pattern)
        if count > MAX_NAMES or count * len(pattern) > MAX_CHARACTERS:
            raise UsageError(f"{redact(pattern[:200])!r}: stands for {count:,} names; at most {MAX_NAMES:,} are taken.")
        names: Iterable[str] = braceexpand(pattern, escape=False)
        return names
    except (ValueError, RecursionError):  # UnbalancedBracesError is a ValueError
        raise UsageError(
            f"{redact(pattern[:200])!r}: braces don't match. Write ranges as {{000..099}} or {{a,b}}."
        ) from None


def _count(pattern: str) -> int:
    """How many names braceexpand makes of a pattern, by its grammar and without making them."""
    total, depth, start = 1, 0, 0
    for at, character in enumerate(pattern):
        if character == "{":
            depth += 1
            if depth == 1:
                start = at + 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                total *= _count_choice(pattern[start:at])
    return total


def _count_choice(inner: str) -> int:
    integers = _INTEGERS.fullmatch(inner)
    if integers:
        first, last, step = int(integers[1]), int(integers[2]), int(integers[3] or 1) or 1
        return abs(last - first) // step + 1
    if _LETTERS.fullmatch(inner):
        return 52
    depth, start, parts = 0, 0, []
    for at, character in enumerate(inner):
        depth += (character == "{") - (character == "}")
        if character == "," and depth == 0:
            parts.append(inner[start:at])
            start = at + 1
    return sum(map(_count, [*parts, inner[start:]])) if parts else _count(inner)
