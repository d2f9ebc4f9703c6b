"""Which classes of a vocabulary are scored together: seen, novel, background, and coarser vocabularies of it."""

from collections.abc import Collection
from dataclasses import dataclass

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.scenes import BACKGROUNDS, COLOURS, names


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Classes whose mean IoU is told as one number."""

    name: str
    """What the report calls it."""

    ids: tuple[int, ...]
    """Vocabulary ids, one at least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Coarser:
    """A vocabulary of fewer classes, each made of some of the old ones."""

    name: str
    """What the report calls it."""

    parts: tuple[tuple[int, ...], ...]
    """The coarser classes' vocabulary ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """All that a vocabulary is scored by."""

    means: tuple[Group, ...]
    """All classes first; then objects, seen, novel and background, those that are there."""

    coarser: tuple[Coarser, ...] = ()
    """Vocabularies that the predictions are collapsed to."""

    sides: Coarser | None = None
    """Things, then stuff; None where the vocabulary doesn't know both."""


def groups_of(vocabulary: Vocabulary, novel: Collection[str] = ()) -> Groups:
    """The groups of a vocabulary.

    Args:
        vocabulary: things are objects, stuff is background; where no kind is known, there are no such groups.
        novel: names of classes that training left out; the other objects are then called seen.

    Raises:
        UsageError: a novel name that the vocabulary doesn't have.
    """
    ids = {entry.name: entry.vocab_id for entry in vocabulary}
    if unknown := sorted(set(novel) - set(ids)):
        raise UsageError(f"--novel {unknown[0]!r}: no such name in the vocabulary. Check its spelling.")
    kinds = {kind: tuple(e.vocab_id for e in vocabulary if e.kind == kind) for kind in ("thing", "stuff", None)}
    things, stuff = kinds["thing"], kinds["stuff"]
    objects = things if stuff else tuple(ids.values())
    unseen = tuple(sorted(ids[name] for name in novel))
    found = {"all": tuple(range(len(vocabulary)))}
    if things and stuff:
        found["objects"] = things
    if unseen:
        found["seen"] = tuple(i for i in objects if i not in unseen)
        found["novel"] = unseen
    found["background"] = stuff
    return Groups(
        means=tuple(Group(name=name, ids=members) for name, members in found.items() if members),
        coarser=(_colours(),) if vocabulary.names == names() else (),
        sides=Coarser(name="objects against background", parts=(things, stuff)) if things and stuff else None,
    )


def _colours() -> Coarser:
    """The scenes' objects by colour alone, beside their backgrounds."""
    all_names = names()
    colours = [tuple(i for i, name in enumerate(all_names) if name.split()[0] == colour) for colour in COLOURS]
    backgrounds = [(all_names.index(background),) for background in BACKGROUNDS]
    return Coarser(name="colours and backgrounds", parts=(*colours, *backgrounds))
