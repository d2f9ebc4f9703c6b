"""Groups an archive's members into samples, as webdataset does where a sample's members are adjacent. Reads no body."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from maskmill.pipeline.reading.archive import ArchiveReport
from maskmill.pipeline.reading.errors import WarningWord
from maskmill.pipeline.reading.keys import split_name
from maskmill.pipeline.reading.members import Member


@dataclass(slots=True, eq=False)
class Group:
    """One sample's members, before their bodies are read."""

    key: str
    """webdataset's `__key__`."""

    members: dict[str, Member]
    """By extension, in the archive's order."""

    warnings: set[WarningWord]
    """What is odd about them."""


def group(report: ArchiveReport, *, first_version: bool = False) -> list[Group]:
    """The samples of an archive, in the order of their first members.

    Members that are adjacent are grouped by webdataset. A plain `tar cf` of a folder packs them apart: where a key
    comes back and its parts have no extension in common, they are one sample with the warning `split_sample`; where
    they have, each is a sample with the warning `duplicate_key`, as for webdataset. All members are held in memory for
    that, of which `ReadLimits.max_members` bounds the number.

    Of a truncated archive the sample with the last member is left out where it may lack some.

    Args:
        report: the archive.
        first_version: group as the first version of maskmill did, whose label tables have its rows: links are passed
            over, files of an operating system are samples, and what isn't adjacent is never put together.
    """
    if first_version:
        plain = (entry for entry in report.entries if not entry.link and entry.fault is None)
        found = _adjacent(plain, first_version=True)
        return found[:-1] if report.partial else found
    groups = _adjacent(report.entries)
    if report.partial and groups:
        last = groups.pop()
        parts = [part for part in groups if part.key == last.key]
        if _complement([*parts, last]):
            groups = [part for part in groups if part.key != last.key]
    return _completed(groups)


def _adjacent(entries: Iterable[Member], *, first_version: bool = False) -> list[Group]:
    """Members by sample, grouped by webdataset.

    Headers travel through webdataset's grouping in the place of bodies: a shard's bodies are never all in memory.
    """
    from webdataset.tariterators import group_by_keys

    current: list[tuple[str, str]] = []
    duplicated: dict[str, set[int]] = defaultdict(set)
    groups: list[Group] = []

    def files() -> Iterator[dict[str, Any]]:
        for entry in entries:
            key, extension = split_name(entry.name, first_version=first_version)
            if key is not None and extension is not None:
                current[:] = [(key, extension)]
                yield {"fname": entry.name, "data": entry, "__url__": ""}

    def note(_: Exception) -> bool:
        # The one thing that group_by_keys raises for is an extension that the sample in progress has already; it is the
        # sample that will be yielded next, and the second member is passed over.
        duplicated[current[0][0]].add(len(groups))
        return True

    for sample in group_by_keys(files(), keys=lambda _: current[0], handler=note):
        key = str(sample["__key__"])
        members = {name: value for name, value in sample.items() if isinstance(value, Member)}
        warnings: set[WarningWord] = set()
        if len(groups) in duplicated.get(key, ()):
            warnings.add("duplicate_member")
        if not all(member.plain for member in members.values()):
            warnings.add("key_text")
        groups.append(Group(key, members, warnings))
    return groups


def _completed(groups: Sequence[Group]) -> list[Group]:
    """Groups of which those of one key that complement one another are one, where the first of them was."""
    by_key: dict[str, list[Group]] = defaultdict(list)
    for found in groups:
        by_key[found.key].append(found)
    for parts in by_key.values():
        if len(parts) == 1:
            continue
        if not _complement(parts):
            for part in parts:
                part.warnings.add("duplicate_key")
            continue
        first, *others = parts
        first.warnings.add("split_sample")
        for part in others:
            first.members |= part.members
            first.warnings |= part.warnings
            part.members = {}
    return [found for found in groups if found.members]


def _complement(parts: Sequence[Group]) -> bool:
    """Whether no two parts of a sample have an extension in common."""
    names = [name for part in parts for name in part.members]
    return len(names) == len(set(names))
