"""Walks a tar's headers before any member is read, and refuses what no honest shard holds. Reads no body."""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from maskmill.pipeline.reading.errors import ShardError
from maskmill.pipeline.reading.keys import split_name
from maskmill.pipeline.reading.limits import ReadLimits

BLOCK = 512
"""Bytes of a tar block (POSIX.1-2001, pax interchange format)."""

MAX_HEADER_BYTES = 2**20
"""Most bytes of one extended header or long name; real ones have a few hundred."""

MAX_NAME = 4096
"""Most characters of a member's name: the longest path of common file systems."""

MAX_PADDING = 2**20
"""Most zeros after the end-of-archive blocks; tar pads to a record, of 10 KB as a rule and 1 MB at most."""

_ZEROS = bytes(BLOCK)
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)
_EXTENSIONS = (*_PAX, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in the archive."""

    name: str
    """Its name, valid as UTF-8: bytes that are not are written as \\xNN."""

    offset: int
    """First byte of its body in the archive."""

    size: int
    """Bytes of its body."""

    plain: bool = True
    """False where the name was not UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveReport:
    """What a walk over the headers found."""

    bytes: int
    """Size of the archive."""

    members: int
    """Regular files in it."""

    unkeyed: int
    """Regular files that belong to no sample: no extension, or a name that webdataset keeps for itself."""

    skipped: int
    """Directories, links and devices; they are never followed or made."""

    truncated: bool
    """The archive stops before its end-of-archive blocks."""

    partial: bool
    """The last sample may lack members and is not yielded: a truncated archive without even its first end block."""

    entries: tuple[Member, ...] = field(repr=False)
    """The regular files in order. In a truncated archive the last may be one whose body was cut off."""


def check_archive(path: Path, limits: ReadLimits) -> ArchiveReport:
    """Walk the headers of a local tar.

    A tar that stops at a member's end is as truncated as one that stops inside: only two zero blocks end an archive
    (tarfile and webdataset take both for whole). Nothing but zeros may follow them. Links, directories and devices are
    counted and left alone.

    Args:
        path: the archive, uncompressed.
        limits: `max_member_bytes`, `max_members`, `keep_truncated` apply.

    Raises:
        ShardError: empty, not_tar, compressed, bad_header, sparse, member_too_large, too_many_members, trailing_data;
            truncated unless `limits.keep_truncated`; read, if the disk or its permissions fail.

    Source: POSIX.1-2001 pax; GNU tar manual, "Basic Tar Format".
    """
    try:
        with path.open("rb", buffering=0) as file:
            walk = _Walk(file.fileno(), os.fstat(file.fileno()).st_size, limits)
            entries = tuple(walk.members())
    except OSError as error:
        raise ShardError("read", f"{type(error).__name__}: {error.strerror}") from error
    if walk.truncated and not limits.keep_truncated:
        raise ShardError(
            "truncated",
            f"{walk.cut}, after {len(entries)} members. Make the shard again, or label its whole samples with "
            "--keep-truncated",
        )
    return ArchiveReport(
        bytes=walk.size,
        members=len(entries),
        unkeyed=sum(split_name(entry.name)[0] is None for entry in entries),
        skipped=walk.skipped,
        truncated=walk.truncated,
        partial=walk.truncated and not walk.ended,
        entries=entries,
    )


@dataclass(slots=True)
class _Extended:
    """What extended headers say about the member that follows them."""

    name: bytes | None = None
    size: int | None = None
    pending: bool = False


class _Walk:
    """One pass over the headers of an archive."""

    def __init__(self, descriptor: int, size: int, limits: ReadLimits) -> None:
        self.descriptor = descriptor
        self.size = size
        self.limits = limits
        self.skipped = 0
        self.cut = ""
        self.ended = False

    @property
    def truncated(self) -> bool:
        return bool(self.cut)

    def members(self) -> Iterator[Member]:
        """Regular files in order; where a body is cut off, its member is the last."""
        if self.size == 0:
            raise ShardError("empty", "the file has no bytes")
        self._refuse_compressed()
        position, count, extended = 0, 0, _Extended()
        while not self.cut and (block := self._block(position, extended)) is not None:
            header = self._header(block, position)
            if header.type in _EXTENSIONS:
                position = self._extension(header, position, extended)
                continue
            member = self._member(header, extended, position)
            extended = _Extended()
            position += BLOCK
            if header.type in _REGULAR:
                count += 1
                if count > self.limits.max_members:
                    raise ShardError("too_many_members", f"more than {self.limits.max_members:,} (--max-members)")
                yield member
            else:
                self.skipped += 1
            if _has_body(header):
                position += _padded(member.size)
                if position > self.size:
                    self.cut = f"the archive stops at byte {self.size:,}, inside {member.name[:80]!r}"

    def _block(self, position: int, extended: _Extended) -> bytes | None:
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
        if block[156:157] == tarfile.GNUTYPE_SPARSE:
            raise ShardError("sparse", f"at byte {position:,}; make the archive again without --sparse")
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError, OverflowError) as error:
            if position == 0 and block[257:262] != b"ustar":
                raise ShardError("not_tar", f"the first {BLOCK} bytes are no tar header") from None
            raise ShardError("bad_header", f"at byte {position:,}: {error}") from None
        if header.size < 0:
            raise ShardError("bad_header", f"at byte {position:,}: a size below zero")
        return header

    def _extension(self, header: tarfile.TarInfo, position: int, extended: _Extended) -> int:
        """Take in an extended header; the position after it."""
        if header.size > MAX_HEADER_BYTES:
            raise ShardError("bad_header", f"at byte {position:,}: an extended header of {header.size:,} bytes")
        data = os.pread(self.descriptor, header.size, position + BLOCK)
        following = position + BLOCK + _padded(header.size)
        if following > self.size:
            self.cut = f"the archive stops at byte {self.size:,}, inside an extended header"
            return following
        if header.type == tarfile.GNUTYPE_LONGNAME:
            extended.name = data.split(b"\x00", 1)[0]
        elif header.type in _PAX:
            self._pax(data, position, extended, shared=header.type == tarfile.XGLTYPE)
        extended.pending = header.type != tarfile.XGLTYPE or extended.pending
        return following

    def _pax(self, data: bytes, position: int, extended: _Extended, *, shared: bool) -> None:
        for keyword, value in _pax_records(data, position):
            if keyword.startswith(b"GNU.sparse.") or keyword == b"SCHILY.realsize":
                raise ShardError("sparse", f"at byte {position:,}; make the archive again without --sparse")
            if keyword not in (b"path", b"size"):
                continue
            if shared:
                raise ShardError("bad_header", f"at byte {position:,}: one {keyword.decode()} for all members")
            if keyword == b"path":
                extended.name = value
            elif value.isdigit() and len(value) < 20:
                extended.size = int(value)
            else:
                raise ShardError("bad_header", f"at byte {position:,}: size {value[:20]!r}")

    def _member(self, header: tarfile.TarInfo, extended: _Extended, position: int) -> Member:
        raw = header.name.encode("utf-8", "surrogateescape") if extended.name is None else extended.name
        size = header.size if extended.size is None else extended.size
        if len(raw) > MAX_NAME:
            raise ShardError("bad_header", f"at byte {position:,}: a name of {len(raw):,} bytes")
        name = raw.decode("utf-8", "backslashreplace")
        limit = self.limits.max_member_bytes
        if _has_body(header) and size > limit:
            raise ShardError(
                "member_too_large", f"{name[:80]!r} has {size:,} bytes, more than {limit:,} (--max-member-bytes)"
            )
        return Member(name, position + BLOCK, size, plain=name.encode() == raw)

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


def _has_body(header: tarfile.TarInfo) -> bool:
    """Whether blocks follow the header: of a regular file, and of a type that nobody knows (tarfile's rule)."""
    return header.type in _REGULAR or header.type not in tarfile.SUPPORTED_TYPES


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _pax_records(data: bytes, position: int) -> Iterator[tuple[bytes, bytes]]:
    """Records `LENGTH KEYWORD=VALUE\\n` of an extended header; LENGTH counts all of it."""
    at = 0
    data = data.rstrip(b"\x00")
    while at < len(data):
        space = data.find(b" ", at, at + 21)
        length = data[at:space] if space > 0 else b""
        end = at + int(length) if length.isdigit() else 0
        equals = data.find(b"=", space, end)
        if not (space < equals < end <= len(data)) or data[end - 1 : end] != b"\n":
            raise ShardError("bad_header", f"at byte {position:,}: a pax record that isn't one")
        yield data[space + 1 : equals], data[equals + 1 : end - 1]
        at = end
