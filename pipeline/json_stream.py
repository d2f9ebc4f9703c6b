"""Writes JSON whose lists may be long, entry by entry. What is in it is its caller's."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def chunks(value: Any, indent: str = "") -> Iterator[str]:
    """Pieces of a JSON text.

    Args:
        value: what `json.dumps` takes, with mappings of any depth whose values may be iterators: those become arrays,
            an entry a line, and are never held as a whole.
        indent: spaces before the closing bracket.
    """
    inner = indent + "  "
    if isinstance(value, Mapping):
        first = "{"
        for name, entry in value.items():
            yield f"{first}\n{inner}{json.dumps(name)}: "
            yield from chunks(entry, inner)
            first = ","
        yield "{}" if first == "{" else f"\n{indent}}}"
    elif isinstance(value, Iterator):
        first = "["
        for entry in value:
            yield f"{first}\n{inner}{json.dumps(entry)}"
            first = ","
        yield "[]" if first == "[" else f"\n{indent}]"
    else:
        yield json.dumps(value)
