"""Walks a tar's headers before any member is read, and refuses what no honest shard holds. Reads no body."""

import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from maskmill.pipeline.reading.errors import ShardError
from maskmill.pipeline.reading.extended import TYPES as EXTENDED_TYPES
from maskmill.pipeline.reading.extended import Extended
from maskmill.pipeline.reading.keys import split_name
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.members import Fault, Member, Names

BLOCK = 512
"""Bytes of a tar block (POSIX.1-2001, pax interchange format)."""

MAX_HEADER_BYTES = 2**20
"""Most bytes of one extended header or long name; real ones have a few hundred."""

MAX_NAME = 4096
"""Most characters of a member's name: the longest path of common file systems."""

MAX_PADDING = 2**20
"""Most zeros after the end-of-archive blocks; tar pads to a record, of 10 KB as a rule and 1 MB at most."""

_ZEROS = bytes(BLOCK)
_REGULAR = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE})
_LINKS = frozenset({tarfile.LNKTYPE, tarfile.SYMTYPE})
_BODILESS = frozenset(tarfile.SUPPORTED_TYPES) - _REGULAR - {tarfile.GNUTYPE_SPARSE}
"""Types of headers that no blocks follow; those that nobody knows have some (tarfile's rule)."""

_DIRECTORIES = frozenset({tarfile.DIRTYPE, b"D", b"V"})
"""Directories, GNU's with a list of what they hold, and the label of a volume."""

_SPECIAL = {
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a FIFO",
    b"M": "the rest of a file that begins in another volume",
}
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveReport:
    """What a walk over the headers found."""

    bytes: int
    """Size of the archive."""

    members: int
    """What is in it but directories: files, links, devices. None of them is ever made on a disk."""

    unkeyed: int
    """Members that belong to no sample: no extension, or a name that `split_name` leaves out."""

    directories: int
    """Directories in it; they belong to no sample."""

    truncated: bool
    """The archive stops before its end-of-archive blocks."""

    partial: bool
    """The last sample may lack members and is not yielded: a truncated archive without even its first end block."""

    entries: tuple[Member, ...] = field(repr=False)
    """The members in order. In a truncated archive the last may be one whose body was cut off."""


def check_archive(path: Path, limits: ReadLimits) -> ArchiveReport:
    """Walk the headers of a local tar.

    A tar that stops at a member's end is as truncated as one that stops inside: only two zero blocks end an archive
    (tarfile and webdataset take both for whole). Nothing but zeros may follow them. A link to an earlier member has
    that member's body; any other link, a device and a sparse file have a fault instead of one.

    Args:
        path: the archive, uncompressed.
        limits: `max_member_bytes`, `max_members`, `keep_truncated` apply.

    Raises:
        ShardError: empty, not_tar, compressed, bad_header, member_too_large, too_many_members, trailing_data;
            truncated unless `limits.keep_truncated`; read, if the disk or its permissions fail.

    Source: POSIX.1-2001 pax; GNU tar manual, "Basic Tar Format".
    """
    try:
        with path.open("rb", buffering=0) as file:
            walk = _Walk(file.fileno(), os.fstat(file.fileno()).st_size, limits)
            walk.run()
    except OSError as error:
        raise ShardError("read", f"{type(error).__name__}: {error.strerror}") from error
    if walk.truncated and not limits.keep_truncated:
        raise ShardError(
            "truncated",
            f"{walk.cut}, after {len(walk.entries)} members. Make the shard again, or label its whole samples with "
            "--keep-truncated",
        )
    return ArchiveReport(
        bytes=walk.size,
        members=len(walk.entries),
        unkeyed=sum(split_name(entry.name)[0] is None for entry in walk.entries),
        directories=walk.directories,
        truncated=walk.truncated,
        partial=walk.truncated and not walk.ended,
        entries=tuple(walk.entries),
    )


class _Walk:
    """One pass over the headers of an archive."""

    def __init__(self, descriptor: int, size: int, limits: ReadLimits) -> None:
        self.descriptor = descriptor
        self.size = size
        self.limits = limits
        self.entries: list[Member] = []
        self.directories = 0
        self.cut = ""
        self.ended = False
        self._names = Names()

    @property
    def truncated(self) -> bool:
        return bool(self.cut)

    def run(self) -> None:
        """Collect the members in order; where a body is cut off, its member is the last."""
        if self.size == 0:
            raise ShardError("empty", "the file has no bytes")
        self._refuse_compressed()
        position, extended = 0, Extended()
        while not self.cut and (block := self._block(position, extended)) is not None:
            header = self._header(block, position)
            if header.type in EXTENDED_TYPES:
                position = self._extension(header, position, extended)
                continue
            body = position + BLOCK
            if header.type == tarfile.GNUTYPE_SPARSE:
                body = self._after_sparse_map(block, body)
            member = self._member(header, extended, body)
            extended = Extended()
            self._add(member, directory=header.type in _DIRECTORIES)
            position = body + (_padded(member.size) if header.type not in _BODILESS else 0)
            if position > self.size:
                self.cut = f"the archive stops at byte {self.size:,}, inside {member.name[:80]!r}"

    def _add(self, member: Member, *, directory: bool) -> None:
        if directory:
            self.directories += 1
            return
        if len(self.entries) == self.limits.max_members:
            raise ShardError("too_many_members", f"more than {self.limits.max_members:,} (--max-members)")
        self.entries.append(member)
        self._names.add(member)

    def _block(self, position: int, extended: Extended) -> bytes | None:
        """The header block at a position; None at the archive's end or where it is cut off."""
        block = os.pread(self.descriptor, BLOCK, position)
        if len(block) < BLOCK:
            if position == 0:
                raise ShardError("not_tar", f"{self.size} bytes; a tar has at least {2 * BLOCK}")
            self.cut = f"the archive stops at byte {self.size:,} without its end"
            return None
        if block != _ZEROS:
            return block
        if extended.pending:
            raise ShardError("bad_header", f"at byte {position:,}: an extended header with no member after it")
        self._end(position)
        return None

    def _refuse_compressed(self) -> None:
        start = os.pread(self.descriptor, 8, 0)
        for magic, name in _MAGIC.items():
            if start.startswith(magic):
                raise ShardError("compressed", f"{name} data; unpack it to a plain .tar (images gain nothing from it)")

    def _header(self, block: bytes, position: int) -> tarfile.TarInfo:
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError, OverflowError) as error:
            if position == 0 and block[257:262] != b"ustar":
                raise ShardError("not_tar", f"the first {BLOCK} bytes are no tar header") from None
            raise ShardError("bad_header", f"at byte {position:,}: {error}") from None
        if header.size < 0:
            raise ShardError("bad_header", f"at byte {position:,}: a size below zero")
        return header

    def _after_sparse_map(self, block: bytes, position: int) -> int:
        """Where the body begins of a sparse file in GNU's old form, whose map may go on in blocks of its own."""
        more = block[482]
        while more:
            block = os.pread(self.descriptor, BLOCK, position)
            position += BLOCK
            more = len(block) == BLOCK and block[504]
        return position

    def _extension(self, header: tarfile.TarInfo, position: int, extended: Extended) -> int:
        """Take in an extended header; the position after it."""
        if header.size > MAX_HEADER_BYTES:
            raise ShardError("bad_header", f"at byte {position:,}: an extended header of {header.size:,} bytes")
        data = os.pread(self.descriptor, header.size, position + BLOCK)
        following = position + BLOCK + _padded(header.size)
        if following > self.size:
            self.cut = f"the archive stops at byte {self.size:,}, inside an extended header"
            return following
        extended.take(header.type, data, position)
        return following

    def _member(self, header: tarfile.TarInfo, extended: Extended, body: int) -> Member:
        raw = header.name.encode("utf-8", "surrogateescape") if extended.name is None else extended.name
        size = header.size if extended.size is None else extended.size
        if len(raw) > MAX_NAME:
            raise ShardError("bad_header", f"before byte {body:,}: a name of {len(raw):,} bytes")
        name = raw.decode("utf-8", "backslashreplace")
        limit = self.limits.max_member_bytes
        if header.type not in _BODILESS and size > limit:
            raise ShardError(
                "member_too_large", f"{name[:80]!r} has {size:,} bytes, more than {limit:,} (--max-member-bytes)"
            )
        member = Member(name, body, size, name.encode() == raw, _fault(header, extended, name))
        if header.type not in _LINKS:
            return member
        target = header.linkname.encode("utf-8", "surrogateescape") if extended.link is None else extended.link
        return self._names.linked(
            member,
            target.decode("utf-8", "backslashreplace"),
            symbolic=header.type == tarfile.SYMTYPE,
            earlier=self.entries,
        )

    def _end(self, position: int) -> None:
        """Judge what follows the first zero block."""
        self.ended = True
        if position + 2 * BLOCK > self.size:
            self.cut = f"the archive stops at byte {self.size:,}, inside its end"
            return
        at = position
        while at < self.size:
            chunk = os.pread(self.descriptor, MAX_PADDING, at)
            if not chunk:
                break
            if chunk.count(0) != len(chunk):
                first = at + len(chunk) - len(chunk.lstrip(b"\x00"))
                again = os.pread(self.descriptor, BLOCK, first - first % BLOCK)[257:262] == b"ustar"
                what = "another archive: two tars in one file; give each its own" if again else "data"
                raise ShardError("trailing_data", f"after the archive's end, at byte {first:,}, follows {what}")
            at += len(chunk)
        if self.size - position > 2 * BLOCK + MAX_PADDING:
            if position == 0:
                raise ShardError("not_tar", f"{self.size:,} bytes of zeros")
            raise ShardError(
                "trailing_data", f"{self.size - position:,} zeros follow the archive's end: a failed copy?"
            )


def _fault(header: tarfile.TarInfo, extended: Extended, name: str) -> Fault | None:
    """Why a member is no plain file; a link is judged by where it leads."""
    if header.type == tarfile.GNUTYPE_SPARSE or extended.sparse:
        return Fault("sparse", f"{name[:80]!r} is stored with holes; make the archive again without --sparse")
    if header.type in _REGULAR or header.type in _LINKS:
        return None
    return Fault("special_file", f"{name[:80]!r} is {_SPECIAL.get(header.type, f'of type {header.type!r}')}, no file")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
