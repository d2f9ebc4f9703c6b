"""Checks of what Python callers pass, with errors as the command line gives them. What is right passes unchanged."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from numbers import Integral, Real
from reprlib import repr as shortened

from maskmill.models.errors import UsageError


def whole(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number, or is below a bound; True and False are none.

    Args:
        name: of the argument, for the error.
        value: what was passed.
        least: the bound.

    Raises:
        UsageError: either.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UsageError(f"{name}={shortened(value)}: expected a whole number, {least} or more.")


def number(name: str, value: object) -> None:
    """Refuse what is no number (see `whole`); whether it is in bounds is asked elsewhere, and NaN is in none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"{name}={shortened(value)}: expected a number.")


def flag(name: str, value: object) -> None:
    """Refuse what is neither True nor False (see `whole`)."""
    if not isinstance(value, bool):
        raise UsageError(f"{name}={shortened(value)}: expected True or False.")


def choice(name: str, value: object, allowed: Collection[str]) -> None:
    """Refuse what is not one of some texts (see `whole`)."""
    if not isinstance(value, str) or value not in allowed:
        raise UsageError(f"{name}={shortened(value)}: expected {', '.join(map(repr, allowed))}.")


def instance(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Refuse what is no instance of some types (see `whole`).

    Args:
        name: of the argument.
        value: what was passed.
        kinds: the types.
        expected: what the error says after "expected", with how to get one.
    """
    if not isinstance(value, kinds):
        raise UsageError(f"{name}={shortened(value)}: {type(value).__name__}; expected {expected}.")


def texts(name: str, value: object) -> tuple[str, ...]:
    """Some texts as a tuple; a single one is refused, as it would be taken letter by letter.

    Raises:
        UsageError: it is no list or other iterable, or holds what is no text.
    """
    expected = "expected a list of texts, such as ['cat', 'wet road']"
    # Of a set the order is chance, and of a mapping the values would be lost.
    if isinstance(value, str | bytes | Set | Mapping) or not isinstance(value, Iterable):
        raise UsageError(f"{name}={shortened(value)}: {expected}.")
    found = tuple(value)
    for place, one in enumerate(found):
        if not isinstance(one, str):
            raise UsageError(f"{name}[{place}]={shortened(one)}: {expected}.")
    return found


def location(name: str, value: object) -> str:
    """A path or URL as text.

    Raises:
        UsageError: it is neither a text nor a path.
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise UsageError(f"{name}={shortened(value)}: expected a path or a URL.")
    return path


def sequence(name: str, value: object, kind: type, expected: str) -> None:
    """Refuse what is no list or tuple of at least one instance of a type (see `instance`)."""
    if not isinstance(value, Sequence) or not value or not all(isinstance(one, kind) for one in value):
        raise UsageError(f"{name}={shortened(value)}: expected {expected}.")
