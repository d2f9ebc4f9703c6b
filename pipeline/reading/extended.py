"""Extended headers of a tar: what pax records and GNU's long names say of the member after them. Reads no file."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from maskmill.pipeline.reading.errors import ShardError

PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)
"""Types of headers with pax records."""

TYPES = (*PAX, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
"""Types of headers that say something of a member and are none."""

_SPARSE = (b"GNU.sparse.", b"SCHILY.realsize")
_USED = (b"path", b"linkpath", b"size")


@dataclass(slots=True)
class Extended:
    """What extended headers say about the member that follows them."""

    name: bytes | None = None
    """Its name."""

    link: bytes | None = None
    """What it links to."""

    size: int | None = None
    """Bytes of its body."""

    sparse: bool = False
    """Whether its body is a map of holes and the data between them."""

    pending: bool = False
    """Whether a member must follow."""

    def take(self, kind: bytes, data: bytes, position: int) -> None:
        """Take in an extended header.

        Args:
            kind: its type, one of `TYPES`.
            data: its body.
            position: of the header in the archive, for errors.

        Raises:
            ShardError: bad_header.
        """
        if kind == tarfile.GNUTYPE_LONGNAME:
            self.name = data.split(b"\x00", 1)[0]
        elif kind == tarfile.GNUTYPE_LONGLINK:
            self.link = data.split(b"\x00", 1)[0]
        else:
            self._records(data, position, shared=kind == tarfile.XGLTYPE)
        self.pending = kind != tarfile.XGLTYPE or self.pending

    def _records(self, data: bytes, position: int, *, shared: bool) -> None:
        sparse_name = None
        for keyword, value in _pax_records(data, position):
            sparse = keyword.startswith(_SPARSE)
            if keyword not in _USED and not sparse:
                continue
            if shared:
                shown = keyword[:40].decode("ascii", "replace")
                raise ShardError("bad_header", f"at byte {position:,}: one {shown} for all members")
            if sparse:
                self.sparse = True
                sparse_name = value if keyword == b"GNU.sparse.name" else sparse_name
            elif keyword == b"path":
                self.name = value
            elif keyword == b"linkpath":
                self.link = value
            elif value.isdigit() and len(value) < 20:
                self.size = int(value)
            else:
                raise ShardError("bad_header", f"at byte {position:,}: size {value[:20]!r}")
        # `path` is then a made-up one, for programs that don't know of holes.
        self.name = self.name if sparse_name is None else sparse_name


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
