"""YAML as plain values: the one reader of config files and vocabularies. What the values mean is their business.

YAML 1.2's core schema: `no`, `on`, `1:16` and dates are texts. No tags, no aliases, one document, bounded in depth and
number of values, so that a small file stays small. PyYAML splits the text, libyaml where it is built in.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import yaml

MAX_DEPTH = 32
"""Lists and mappings within one another."""

MAX_VALUES = 500_000
"""Values of a file, those in lists and mappings among them, and keys."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML can be built without libyaml; that is thirty times slower."""

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{f"{sign}.{name}": float(f"{sign}inf") for sign in ("", "+", "-") for name in ("inf", "Inf", "INF")},
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}

Scalar = str | int | float | bool | None


class YamlError(ValueError):
    """What isn't plain YAML, in one line.

    Args:
        problem: what is wrong.
        line: where, from 1.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        self.where = "" if line is None else f" line {line}"
        """Where, for messages: " line 3", or nothing."""
        self.problem = " ".join(problem.split())[:100]
        """What is wrong."""
        super().__init__(f"{self.where} {self.problem}".strip())


def core_schema(text: str) -> Scalar:
    """The value of an unquoted scalar.

    Raises:
        ValueError: an integer of more digits than Python reads.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text) if text[:2] not in ("0o", "0x") else int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def parse(text: str, scalar: Callable[[str], Scalar] = core_schema) -> object:
    """The document of a text: lists, dicts and scalars; None if it is empty.

    Args:
        text: YAML.
        scalar: the value of an unquoted scalar; a quoted one is its text.

    Raises:
        YamlError: not YAML, more than a bound, or with a tag, an alias, a field twice, or a field that is no scalar.
    """
    try:
        reader = _Reader(events=yaml.parse(text, Loader=_LOADER), scalar=scalar, numbers=count(1))
        return reader.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise YamlError(str(error.problem), mark.line + 1 if mark else None) from error
    except yaml.YAMLError as error:
        raise YamlError(str(error)) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reader:
    events: Iterator[yaml.Event]
    scalar: Callable[[str], Scalar]
    numbers: Iterator[int]

    def document(self) -> object:
        """The only document."""
        value: object = None
        documents = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _error("a second document", event)
            elif isinstance(event, yaml.NodeEvent):
                value = self.node(event, 0)
        return value

    def node(self, event: yaml.Event, depth: int) -> Any:
        """The value that begins with an event."""
        if next(self.numbers) > MAX_VALUES:
            raise _error(f"more than {MAX_VALUES:,} values", event)
        if isinstance(event, yaml.AliasEvent):
            raise _error("an alias", event)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent), event
        if event.tag is not None:
            raise _error(f"a tag, {event.tag.replace('tag:yaml.org,2002:', '!!')}", event)
        if isinstance(event, yaml.ScalarEvent):
            return self.value(event)
        if depth >= MAX_DEPTH:
            raise _error(f"more than {MAX_DEPTH} lists or mappings within one another", event)
        return self.items(depth) if isinstance(event, yaml.SequenceStartEvent) else self.fields(event, depth)

    def value(self, event: yaml.ScalarEvent) -> Scalar:
        plain, _ = event.implicit
        try:
            return self.scalar(event.value) if plain else event.value
        except ValueError as error:
            raise _error("a number of too many digits", event) from error

    def items(self, depth: int) -> list[object]:
        found = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            found.append(self.node(event, depth + 1))
        return found

    def fields(self, start: yaml.Event, depth: int) -> dict[Scalar, object]:
        found: dict[Scalar, object] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if isinstance(event, yaml.CollectionStartEvent):
                raise _error("a field whose name is no text", event)
            key = self.node(event, depth + 1)
            if key in found:
                # Most often a forgotten dash: the later class would silently replace the earlier.
                raise _error("a field stands twice in one entry", start)
            found[key] = self.node(next(self.events), depth + 1)
        return found


def _error(problem: str, event: yaml.Event) -> YamlError:
    mark = event.start_mark
    return YamlError(problem, mark.line + 1 if mark else None)
