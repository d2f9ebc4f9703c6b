"""Where a run's shards lie now, where that isn't where they were labeled: prefixes, old and new. Opens nothing."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from maskmill.models.errors import UsageError
from maskmill.pipeline.stores.urls import canonical, check, redact

OPTION = "--shards-at"

_PLACE = re.compile(r"=(?=/|~|\.{1,2}/|[A-Za-z][A-Za-z0-9+.-]*://)")
"""An equals sign before what must be a place; names of folders may have some too (date=2024-01-01)."""


@dataclass(frozen=True, slots=True)
class ShardsAt:
    """Prefixes of shards' URLs and what stands in their place now. Without any, shards lie where they were labeled."""

    moves: tuple[tuple[str, str], ...] = ()
    """Old prefix, canonical; new one, as it was given. Both are folders, without a slash at the end."""

    @classmethod
    def of(cls, moves: Mapping[str, str]) -> "ShardsAt":
        """From old prefixes to new ones: paths or URLs of folders.

        Raises:
            UsageError: one of them is empty or names no place.
        """
        if not isinstance(moves, Mapping):
            raise UsageError(f"shards_at {str(moves)[:40]!r}: expected a mapping of old folders or URLs to new ones.")
        found = []
        for old, new in moves.items():
            for place in (old, new):
                if not isinstance(place, str) or not place:
                    raise UsageError(f"{OPTION} {redact(f'{old}={new}')!r}: expected OLD=NEW, two folders or URLs.")
                check(place)
            found.append((canonical(old).rstrip("/"), new.rstrip("/") if "://" in new else canonical(new).rstrip("/")))
        # The longest first: what is said of a folder wins over what is said of one that holds it.
        return cls(tuple(sorted(found, key=lambda move: -len(move[0]))))

    @classmethod
    def parse(cls, words: Sequence[str]) -> "ShardsAt":
        """From words of a command line, each OLD=NEW.

        Raises:
            UsageError: a word that isn't, or an OLD that is named twice.
        """
        moves: dict[str, str] = {}
        for word in words:
            equals = _PLACE.search(word)
            old, _, new = word.partition("=") if equals is None else (word[: equals.start()], "=", word[equals.end() :])
            if old in moves:
                raise UsageError(f"{OPTION} {redact(word)!r}: {redact(old)} is named twice. Name one place for it.")
            moves[old] = new
        return cls.of(moves)

    def source(self, url: str) -> str:
        """What opens the shard with this canonical URL."""
        return next((new + url.removeprefix(old) for old, new in self.moves if f"{url}/".startswith(f"{old}/")), url)

    def recorded(self, url: str) -> str:
        """The canonical URL that the shard which lies at `url` was labeled under."""
        places = ((old, canonical(new).rstrip("/")) for old, new in self.moves)
        return next((old + url.removeprefix(new) for old, new in places if f"{url}/".startswith(f"{new}/")), url)

    def refuse_unused(self, urls: Iterable[str]) -> None:
        """Hold the old prefixes against a run's shards.

        Raises:
            UsageError: no shard lies below one of them.
        """
        names = list(urls)
        for old, _ in self.moves:
            if not any(url.startswith(f"{old}/") for url in names):
                there = f"; they lie at {names[0]} and the like" if names else ""
                raise UsageError(f"{OPTION} {old}=...: no shard of this run lies below it{there}. Check the prefix.")


UNMOVED = ShardsAt()
"""Shards lie where they were labeled."""
