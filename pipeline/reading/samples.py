"""Reads the samples of an archive: each one's image and caption, as raw bytes. grouping.py groups members."""

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from maskmill.pipeline.reading.archive import ArchiveReport
from maskmill.pipeline.reading.errors import ShardError, WarningWord
from maskmill.pipeline.reading.grouping import Group, group
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.members import Fault, Member

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")
"""Extensions of the image member, in any case; of several the first in this order is taken that is a file."""


_SHOWN = 60
"""Characters of an extension in an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one webdataset key groups, undecoded."""

    key: str
    """webdataset's `__key__`: the name with its directories up to the first dot of the file's name. May repeat."""

    index: int
    """Position in the shard, from 0."""

    image: bytes | None = field(repr=False)
    """Bytes of the image member; None where there is none, or `fault` says why they can't be had."""

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

    fault: Fault | None = None
    """Why there are no bytes of an image; None where there are."""


def read_samples(
    path: Path,
    report: ArchiveReport,
    limits: ReadLimits,
    *,
    extra: Collection[str] = (),
    only: Collection[int] | None = None,
    first_version: bool = False,
) -> Iterator[Sample]:
    """Samples of a checked archive, one at a time in memory.

    Keys, order and count are webdataset's where each sample's members are adjacent; see `grouping.group`.

    Args:
        path: the archive that `report` describes.
        report: what `check_archive` said of it.
        limits: `max_caption_bytes`, `image_member`, `caption_member` apply.
        extra: extensions, in lower case, of members to read beyond image and caption, such as `seg.png`.
        only: positions of the samples to read; the others are passed over. None: all.
        first_version: as for `grouping.group`.

    Raises:
        ShardError: changed, if the file is shorter than when it was checked; read, if the disk fails.
    """
    with path.open("rb", buffering=0) as file:
        for index, found in enumerate(group(report, first_version=first_version)):
            if only is None or index in only:
                yield _read(file.fileno(), found, index, limits, extra)


def image_of(members: Mapping[str, Member], limits: ReadLimits) -> Member | None:
    """The image among a sample's members by extension: a file where one of them is; None where there is none."""
    found = _images(members, limits)
    return next((member for member in found if member.fault is None), found[0] if found else None)


def no_image(extensions: Sequence[str], wanted: str | None = None) -> Fault:
    """The fault of a sample without an image.

    Args:
        extensions: those that it has.
        wanted: the one that --image-member names, if it does.
    """
    shown = ", ".join(name[:_SHOWN] for name in extensions[:8])
    likely = next((name for name in extensions if name.rpartition(".")[2] in IMAGE_EXTENSIONS), None)
    hint = "" if likely is None else f"; if {likely[:_SHOWN]} is the image, --image-member {likely[:_SHOWN]} takes it"
    return Fault("missing_image", f"no {wanted or 'jpg, jpeg, png or webp'} among {shown}{hint}")


def _images(members: Mapping[str, Member], limits: ReadLimits) -> list[Member]:
    names = IMAGE_EXTENSIONS if limits.image_member is None else (limits.image_member,)
    return [members[name] for name in names if name in members]


def _read(descriptor: int, found: Group, index: int, limits: ReadLimits, extra: Collection[str]) -> Sample:
    warnings = set(found.warnings)
    if len(_images(found.members, limits)) > 1:
        warnings.add("several_images")
    image = image_of(found.members, limits)
    fault = no_image(tuple(found.members), limits.image_member) if image is None else image.fault
    caption = _caption(descriptor, found.members, limits, warnings)
    return Sample(
        key=found.key,
        index=index,
        image=None if image is None or fault is not None else _body(descriptor, image),
        image_name=None if image is None else image.name,
        caption=caption,
        extensions=tuple(found.members),
        fields=MappingProxyType(
            {
                name: _body(descriptor, member)
                for name, member in found.members.items()
                if name in extra and member.fault is None
            }
        ),
        warnings=tuple(sorted(warnings)),
        fault=fault,
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
    as_text, as_json = _caption_members(members, limits)
    if as_text is not None:
        text, whole = _text(descriptor, as_text, limits)
        if not whole:
            warnings.add("caption_text")
        if text is not None:
            return text.strip()
    if as_json is not None:
        caption, sound = _json_caption(descriptor, as_json, limits)
        if not sound:
            warnings.add("caption_json")
        return caption
    return None


def _caption_members(members: Mapping[str, Member], limits: ReadLimits) -> tuple[Member | None, Member | None]:
    """The members that may hold the caption, as text and as JSON."""
    named = limits.caption_member
    if named is None:
        return members.get("txt"), members.get("json")
    found = members.get(named)
    return (None, found) if named.rpartition(".")[2] == "json" else (found, None)


def _text(descriptor: int, member: Member, limits: ReadLimits) -> tuple[str | None, bool]:
    """A text member, and whether it could be read as it stands."""
    if member.fault is not None or member.size > limits.max_caption_bytes:
        return None, False
    data = _body(descriptor, member)
    try:
        return data.decode("utf-8-sig"), True
    except UnicodeDecodeError:
        return data.decode("utf-8-sig", "replace"), False


def _json_caption(descriptor: int, member: Member, limits: ReadLimits) -> tuple[str | None, bool]:
    if member.fault is not None or member.size > limits.max_caption_bytes:
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
