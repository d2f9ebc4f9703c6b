"""What a list of class names must keep to, whoever wrote it. Reading it from a file is another module's business."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary.vocabulary import Entry, Kind, Vocabulary, clean

MAX_ENTRIES = 32_768
"""Most classes in a vocabulary. ADE-full has 847; each class is a logit of each query, and 14 prompts."""

MAX_SYNONYMS = 64
"""Most synonyms of one class."""

MAX_NAME_CHARACTERS = 512
"""Longest name, in characters."""

MAX_NAME_WORDS = 75
"""Most words (runs of letters, single digits, runs of signs) in a name: CLIP reads 77 tokens, start and end included,
and a word is at least one. Whole prompts are counted exactly by tokens.py, which needs the tokeniser."""

_WORD = re.compile(r"[^\W\d_]+|\d|(?:[^\s\w]|_)+")

_CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that no name holds: controls, lone surrogates, line and paragraph separators."""

_SPECIAL = re.compile("<(start|end)_of_text>")
"""What would end a prompt early, so that the text tower reads its feature at the wrong place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A class as somebody wrote it, before anything was checked."""

    place: str
    """Where it stands, for messages: "line 3", "entry 3"."""

    name: str
    """The name."""

    synonyms: tuple[str, ...] = ()
    """Its synonyms."""

    kind: str | None = None
    """Its kind."""

    source: str
    """What `Entry.source` shall say."""


def checked(drafts: Sequence[Draft], *, shown: str) -> Vocabulary:
    """A vocabulary of drafts that keep the rules, ids given in their order. Names lose whitespace at both ends only.

    Args:
        drafts: the classes, in id order.
        shown: what messages begin with: the option and its value.

    Raises:
        UsageError: no classes, too many, an unknown kind, or a name or synonym that is empty, too long, holds control
            characters, or cleans to the same string as another (see `vocabulary.clean`).
    """
    if not drafts:
        raise UsageError(f"{shown}: no names; expected at least one.")
    if len(drafts) > MAX_ENTRIES:
        raise UsageError(
            f"{shown}: {len(drafts):,} names; expected at most {MAX_ENTRIES:,}. Split it into several runs."
        )
    seen: dict[str, Draft] = {}
    entries = []
    for vocab_id, draft in enumerate(drafts):
        where = f"{shown} {draft.place}"
        if len(draft.synonyms) > MAX_SYNONYMS:
            raise UsageError(f"{where}: {len(draft.synonyms)} synonyms; expected at most {MAX_SYNONYMS}.")
        for what, name in (("name", draft.name), *(("synonym", synonym) for synonym in draft.synonyms)):
            _check_name(where, what, name)
            other = seen.setdefault(clean(name), draft)
            if other is not draft:
                raise UsageError(
                    f"{where}: {what} {name.strip()!r} is also in {other.place} ({other.name.strip()!r}), case, width "
                    "and spaces aside. Remove one, or make them synonyms of one class."
                )
        cleaned = {clean(name) for name in (draft.name, *draft.synonyms)}
        if len(cleaned) <= len(draft.synonyms):
            raise UsageError(
                f"{where}: {draft.name.strip()!r} repeats one of its own names. Remove the repeated synonym."
            )
        entries.append(
            Entry(
                vocab_id=vocab_id,
                name=draft.name.strip(),
                synonyms=tuple(synonym.strip() for synonym in draft.synonyms),
                source=draft.source,
                kind=_kind(where, draft.kind),
            )
        )
    return Vocabulary(tuple(entries))


def _check_name(where: str, what: str, name: str) -> None:
    if not clean(name):
        raise UsageError(f"{where}: an empty {what}. Remove it, or write the name.")
    shown = f"{what} {name.strip()[:40]!r}"
    if any(unicodedata.category(c) in _CONTROL for c in name.strip()):
        raise UsageError(f"{where}: {shown} holds a control character. Remove it.")
    if _SPECIAL.search(clean(name)):
        raise UsageError(f"{where}: {shown} holds a mark that CLIP's tokeniser keeps for itself. Remove it.")
    if len(name) > MAX_NAME_CHARACTERS:
        raise UsageError(f"{where}: {shown}... has {len(name)} characters; expected at most {MAX_NAME_CHARACTERS}.")
    words = len(_WORD.findall(name))
    if words > MAX_NAME_WORDS:
        raise UsageError(
            f"{where}: {shown}... has {words} words; CLIP reads at most {MAX_NAME_WORDS} tokens. Shorten it."
        )


def _kind(where: str, kind: str | None) -> Kind | None:
    if kind == "thing":
        return "thing"
    if kind == "stuff":
        return "stuff"
    if kind is None:
        return None
    raise UsageError(f"{where}: kind {kind[:40]!r}; expected thing or stuff, or none.")
