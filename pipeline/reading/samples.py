"""Groups an archive's members into samples, as webdataset does, and reads each one's image and caption as raw bytes."""

import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from maskmill.pipeline.reading.archive import ArchiveReport, Member
from maskmill.pipeline.reading.errors import ShardError, WarningWord
from maskmill.pipeline.reading.keys import split_name
from maskmill.pipeline.reading.limits import ReadLimits

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")
"""Extensions of the image member, in any case; of several the first in this order is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one webdataset key groups, undecoded."""

    key: str
    """webdataset's `__key__`: the name with its directories up to the first dot of the file's name. May repeat."""

    index: int
    """Position in the shard, from 0."""

    image: bytes | None = field(repr=False)
    """Bytes of the image member; None where there is none."""

    image_name: str | None
    """Name of the image member in the archive."""

    caption: str | None
    """From the txt member, else the json member's `caption`; None where neither gives one. Valid as UTF-8."""

    extensions: tuple[str, ...]
    """Extensions of all members, in lower case and in order."""

    fields: Mapping[str, bytes] = field(repr=False)
    """Bytes of the further members that were asked for, by extension."""

    warnings: tuple[WarningWord, ...] = ()
    """Fixed words (maskmill.pipeline.reading.errors.WARNINGS), each once, in alphabetical order."""


@dataclass(slots=True)
class _Group:
    """One sample's members, before their bodies are read."""

    key: str
    members: dict[str, Member]
    warnings: set[WarningWord]


def read_samples(
    path: Path,
    report: ArchiveReport,
    limits: ReadLimits,
    *,
    extra: Collection[str] = (),
    only: Collection[int] | None = None,
) -> Iterator[Sample]:
    """Samples of a checked archive, one at a time in memory.

    Keys, order and count are webdataset's. What it would raise for (an extension named twice) or pass over (a key that
    comes back later) becomes a warning of the samples concerned. Of a truncated archive the last sample is left out
    where it may lack members.

    Args:
        path: the archive that `report` describes.
        report: what `check_archive` said of it.
        limits: `max_caption_bytes` applies.
        extra: extensions, in lower case, of members to read beyond image and caption, such as `seg.png`.
        only: positions of the samples to read; the others are passed over. None: all.

    Raises:
        ShardError: changed, if the file is shorter than when it was checked; read, if the disk fails.
    """
    groups = group(report.entries)
    if report.partial:
        del groups[-1:]
    _warn_of_repeated_keys(groups)
    with path.open("rb", buffering=0) as file:
        for index, found in enumerate(groups):
            if only is None or index in only:
                yield _read(file.fileno(), found, index, limits, extra)


def group(entries: Iterable[Member]) -> list[_Group]:
    """Members by sample, grouped by webdataset.

    Headers travel through webdataset's grouping in the place of bodies: a shard's bodies are never all in memory.
    """
    from webdataset.tariterators import group_by_keys

    current: list[Member] = []
    duplicated: dict[str, set[int]] = defaultdict(set)
    groups: list[_Group] = []

    def files() -> Iterator[dict[str, Any]]:
        for entry in entries:
            if split_name(entry.name)[0] is not None:
                current[:] = [entry]
                yield {"fname": entry.name, "data": entry, "__url__": ""}

    def note(_: Exception) -> bool:
        # The one thing that group_by_keys raises for is an extension that the sample in progress has already; it is the
        # sample that will be yielded next, and the second member is passed over.
        duplicated[str(split_name(current[0].name)[0])].add(len(groups))
        return True

    for sample in group_by_keys(files(), keys=split_name, handler=note):
        key = str(sample["__key__"])
        members = {name: value for name, value in sample.items() if isinstance(value, Member)}
        warnings: set[WarningWord] = set()
        if len(groups) in duplicated.get(key, ()):
            warnings.add("duplicate_member")
        if not all(member.plain for member in members.values()):
            warnings.add("key_text")
        groups.append(_Group(key, members, warnings))
    return groups


def _warn_of_repeated_keys(groups: list[_Group]) -> None:
    """A key that comes back is a split sample if its parts complete each other, else a duplicate key."""
    by_key: dict[str, list[_Group]] = defaultdict(list)
    for found in groups:
        by_key[found.key].append(found)
    for parts in by_key.values():
        if len(parts) > 1:
            names = [name for part in parts for name in part.members]
            word: WarningWord = "split_sample" if len(names) == len(set(names)) else "duplicate_key"
            for part in parts:
                part.warnings.add(word)


def _read(descriptor: int, found: _Group, index: int, limits: ReadLimits, extra: Collection[str]) -> Sample:
    warnings = set(found.warnings)
    images = [name for name in IMAGE_EXTENSIONS if name in found.members]
    if len(images) > 1:
        warnings.add("several_images")
    image = found.members[images[0]] if images else None
    caption = _caption(descriptor, found.members, limits, warnings)
    return Sample(
        key=found.key,
        index=index,
        image=None if image is None else _body(descriptor, image),
        image_name=None if image is None else image.name,
        caption=caption,
        extensions=tuple(found.members),
        fields=MappingProxyType(
            {name: _body(descriptor, member) for name, member in found.members.items() if name in extra}
        ),
        warnings=tuple(sorted(warnings)),
    )


def _body(descriptor: int, member: Member) -> bytes:
    data = b""
    while len(data) < member.size:  # one call reads 2 GB at most
        try:
            more = os.pread(descriptor, member.size - len(data), member.offset + len(data))
        except OSError as error:
            raise ShardError("read", f"{type(error).__name__}: {error.strerror}") from error
        if not more:
            raise ShardError("changed", f"{member.name[:80]!r} is no longer whole: the file was cut while it was read")
        data = data + more if data else more
    return data


def _caption(
    descriptor: int, members: Mapping[str, Member], limits: ReadLimits, warnings: set[WarningWord]
) -> str | None:
    """The caption, and a warning for what could not be read as it stands."""
    if "txt" in members:
        text, whole = _text(descriptor, members["txt"], limits)
        if not whole:
            warnings.add("caption_text")
        if text is not None:
            return text.strip()
    if "json" in members:
        caption, sound = _json_caption(descriptor, members["json"], limits)
        if not sound:
            warnings.add("caption_json")
        return caption
    return None


def _text(descriptor: int, member: Member, limits: ReadLimits) -> tuple[str | None, bool]:
    """A text member, and whether it could be read as it stands."""
    if member.size > limits.max_caption_bytes:
        return None, False
    data = _body(descriptor, member)
    try:
        return data.decode("utf-8-sig"), True
    except UnicodeDecodeError:
        return data.decode("utf-8-sig", "replace"), False


def _json_caption(descriptor: int, member: Member, limits: ReadLimits) -> tuple[str | None, bool]:
    if member.size > limits.max_caption_bytes:
        return None, False
    try:
        record = json.loads(_body(descriptor, member))
    except (ValueError, RecursionError):
        return None, False
    if not isinstance(record, dict):
        return None, False
    caption = record.get("caption")
    if caption is None:
        return None, True
    if not isinstance(caption, str):
        return None, False
    # JSON can name half a surrogate pair, which no UTF-8 column holds.
    clean = caption.encode("utf-8", "replace").decode("utf-8")
    return clean.strip(), clean == caption
