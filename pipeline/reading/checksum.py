"""What a store says of an object's bytes, and the same of a local file. Asks no store itself."""

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Algorithm = Literal["crc64nvme", "crc32c", "crc32", "sha256", "sha1", "md5"]

CHUNK_BYTES = 4 * 2**20
"""Bytes that are read at once."""

_S3: Mapping[str, tuple[Algorithm, int]] = {
    "ChecksumCRC64NVME": ("crc64nvme", 8),
    "ChecksumCRC32C": ("crc32c", 4),
    "ChecksumCRC32": ("crc32", 4),
    "ChecksumSHA256": ("sha256", 32),
    "ChecksumSHA1": ("sha1", 20),
}
"""Field of HeadObject's answer -> algorithm and bytes; the fastest first."""

_MD5 = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum of a whole object."""

    algorithm: Algorithm
    """How it was computed."""

    value: bytes
    """Its bytes, the most significant first."""


def told(scheme: str, info: Mapping[str, Any]) -> Checksum | None:
    """The checksum of the whole object among what its store says of it; None if there is none that can be computed.

    Args:
        scheme: the store's: s3, gs, az or hf.
        info: HeadObject's answer with ChecksumMode=ENABLED for s3, else what the fsspec driver's `info` gives.
    """
    if scheme == "s3":
        return _of_s3(info)
    if scheme == "gs":
        return _encoded("crc32c", 4, info.get("crc32c")) or _encoded("md5", 16, info.get("md5Hash"))
    if scheme == "az":
        settings = info.get("content_settings") or {}
        return _bytes("md5", 16, _field(settings, "content_md5"))
    if scheme == "hf":
        digest = _field(info.get("lfs") or {}, "sha256")
        return _bytes("sha256", 32, bytes.fromhex(digest)) if isinstance(digest, str) and _is_hex(digest) else None
    return None


def digest(path: Path, algorithm: Algorithm) -> bytes:
    """The checksum of a local file."""
    with path.open("rb") as file:
        if algorithm in ("md5", "sha1", "sha256"):
            return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).digest()
        function, width = _crc(algorithm)
        value = 0
        while chunk := file.read(CHUNK_BYTES):
            value = function(chunk, value)
    return value.to_bytes(width, "big")


def _crc(algorithm: Algorithm) -> tuple[Callable[[bytes, int], int], int]:
    if algorithm == "crc32":
        return zlib.crc32, 4
    from awscrt import checksums  # type: ignore[import-untyped]  # it comes without types

    return (checksums.crc32c, 4) if algorithm == "crc32c" else (checksums.crc64nvme, 8)


def _of_s3(head: Mapping[str, Any]) -> Checksum | None:
    """A full-object checksum, or else the ETag where S3 says that it is the MD5 of the bytes.

    A checksum of parts (COMPOSITE, `...-3`) says nothing about a whole file. The ETag is no MD5 of a multipart upload
    (`...-3`), nor with SSE-KMS or SSE-C.

    Source: Amazon S3 User Guide, "Checking object integrity"; API reference, HeadObject and Object (ETag).
    """
    etag = str(head.get("ETag") or "").strip('"')
    kind = head.get("ChecksumType") or ("COMPOSITE" if "-" in etag else "FULL_OBJECT")
    if kind == "FULL_OBJECT":
        for name, (algorithm, width) in _S3.items():
            found = _encoded(algorithm, width, head.get(name))
            if found is not None:
                return found
    encryption = head.get("ServerSideEncryption") or "AES256"
    if _MD5.fullmatch(etag) and encryption == "AES256" and not head.get("SSECustomerAlgorithm"):
        return Checksum("md5", bytes.fromhex(etag))
    return None


def _encoded(algorithm: Algorithm, width: int, text: object) -> Checksum | None:
    if not isinstance(text, str):
        return None
    try:
        return _bytes(algorithm, width, base64.b64decode(text, validate=True))
    except binascii.Error:
        return None


def _bytes(algorithm: Algorithm, width: int, value: object) -> Checksum | None:
    if isinstance(value, bytes | bytearray) and len(value) == width:
        return Checksum(algorithm, bytes(value))
    return None


def _field(record: Any, name: str) -> object:
    """A field of what one version of a driver makes a mapping and another an object."""
    return record.get(name) if isinstance(record, Mapping) else getattr(record, name, None)


def _is_hex(text: str) -> bool:
    return re.fullmatch(r"[0-9a-fA-F]{64}", text) is not None
