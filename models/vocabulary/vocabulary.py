"""Vocabularies: ordered class names with stable ids. Where the names come from stands in shipped.py and files.py."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Literal, overload

from maskmill.models import arguments

Kind = Literal["thing", "stuff"]
"""Countable objects, or regions that merge: the kinds of COCO panoptic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One class: an id, a name, and what else it is called."""

    vocab_id: int
    """Id of the class: its position in the vocabulary."""

    name: str
    """The name, as it goes into prompts; a comma in it is part of it."""

    synonyms: tuple[str, ...] = ()
    """Further names of the same class; the class's text feature is the average over all its names."""

    source: str = ""
    """Where the name comes from: a label set's name or a file's."""

    kind: Kind | None = None
    """`thing`, `stuff`, or None where nobody said; only stuff merges in general form."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name, then its synonyms."""
        return (self.name, *self.synonyms)


@dataclass(frozen=True)
class Vocabulary:
    """An ordered list of classes; `vocabulary[i]` has id i. Made by `load`, `of`, or from entries that were checked."""

    entries: tuple[Entry, ...]
    """The classes in id order."""

    def __post_init__(self) -> None:
        arguments.sequence("entries", self.entries, Entry, "entries. Make a vocabulary with Vocabulary.of or .load")
        assert all(entry.vocab_id == i for i, entry in enumerate(self.entries)), "an entry's id is its position"

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Entry, ...]: ...
    def __getitem__(self, index: int | slice) -> Entry | tuple[Entry, ...]:
        return self.entries[index]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names in id order, without synonyms."""
        return tuple(entry.name for entry in self.entries)

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) over the ordered ids, names, synonyms and kinds; `source` changes no label and is left out."""
        stated = [[entry.vocab_id, entry.name, list(entry.synonyms), entry.kind] for entry in self.entries]
        return hashlib.sha256(json.dumps(stated, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()

    @staticmethod
    def load(name_or_url: str | PathLike[str]) -> "Vocabulary":
        """A shipped label set by name, else a vocabulary file.

        Args:
            name_or_url: a name of `shipped.LABEL_SETS`, or a path or fsspec URL of a text, YAML or JSON file
                (see files.py). A label set's name wins over a file of that name; write `./NAME` for the file.

        Raises:
            UsageError: there is neither, or the file isn't a vocabulary; one line naming the line or entry.
            EnvironmentFailure: the file can't be read (permission, network).
        """
        from maskmill.models.vocabulary import files, shipped

        named = arguments.location("name_or_url", name_or_url)
        return shipped.load(named) if named in shipped.LABEL_SETS else files.load(named)

    @staticmethod
    def of(names: Iterable[str], *, source: str = "names") -> "Vocabulary":
        """A vocabulary of plain names, checked as a file's are: `Vocabulary.of(["cat", "dog"])`.

        Raises:
            UsageError: a single text, no names, an empty name, two that clean to the same string, one that is too long.
        """
        from maskmill.models.vocabulary.checks import Draft, checked

        listed = arguments.texts("names", names)
        arguments.instance("source", source, str, "a text")
        drafts = [Draft(place=f"name {i}", name=name, source=source) for i, name in enumerate(listed, start=1)]
        return checked(drafts, shown=f"vocabulary {source!r}")


def clean(name: str) -> str:
    """What two names are compared by: NFKC, invisible format characters dropped, casefolded, whitespace collapsed.

    Two names that clean to the same string are the same prompt to CLIP's tokeniser, which lowercases and collapses too.
    """
    visible = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    return " ".join(visible.casefold().split())
