"""What stores say of an object's bytes is read right, and computed alike."""

import base64
import hashlib
import types
import zlib
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from maskmill.pipeline.reading.checksum import Algorithm, Checksum, digest, told

DATA = bytes(range(256)) * 20_000
MD5 = hashlib.md5(DATA).hexdigest()


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checksum") / "a.tar"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize(
    ("algorithm", "value"),
    [
        ("md5", hashlib.md5(DATA).digest()),
        ("sha1", hashlib.sha1(DATA).digest()),
        ("sha256", hashlib.sha256(DATA).digest()),
        ("crc32", zlib.crc32(DATA).to_bytes(4, "big")),
        ("crc32c", google_crc32c.Checksum(DATA).digest()),
    ],
)
def test_a_digest_equals_another_implementations(file: Path, algorithm: Algorithm, value: bytes) -> None:
    assert digest(file, algorithm) == value


def test_crc64nvme_equals_its_published_check_value(tmp_path: Path) -> None:
    # Source: catalogue of parametrised CRC algorithms (reveng), CRC-64/NVME: check = 0xae8b14860a799888.
    path = tmp_path / "check"
    path.write_bytes(b"123456789")
    assert digest(path, "crc64nvme").hex() == "ae8b14860a799888"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ({"ETag": f'"{MD5}"'}, Checksum("md5", bytes.fromhex(MD5))),
        ({"ETag": f'"{MD5}"', "ServerSideEncryption": "AES256"}, Checksum("md5", bytes.fromhex(MD5))),
        ({"ETag": f'"{MD5}"', "ServerSideEncryption": "aws:kms"}, None),
        ({"ETag": f'"{MD5}"', "SSECustomerAlgorithm": "AES256"}, None),
        ({"ETag": f'"{MD5}-3"'}, None),
        ({"ETag": '"an-etag-of-another-store"'}, None),
        ({}, None),
        ({"ETag": f'"{MD5}"', "ChecksumCRC32": "AAAAAQ=="}, Checksum("crc32", b"\0\0\0\1")),
        (
            {"ETag": f'"{MD5}-3"', "ChecksumCRC64NVME": "AAAAAAAAAAE=", "ChecksumType": "FULL_OBJECT"},
            Checksum("crc64nvme", b"\0\0\0\0\0\0\0\1"),
        ),
        ({"ETag": f'"{MD5}-3"', "ChecksumCRC32": "AAAAAQ==", "ChecksumType": "COMPOSITE"}, None),
        ({"ETag": f'"{MD5}-3"', "ChecksumSHA256": f"{encoded(bytes(32))}-3"}, None),
        ({"ETag": f'"{MD5}-3"', "ChecksumCRC32": "AAAAAQ=="}, None),
        ({"ChecksumCRC32C": "not base64", "ChecksumType": "FULL_OBJECT"}, None),
        ({"ChecksumCRC32C": encoded(bytes(3)), "ChecksumType": "FULL_OBJECT"}, None),
    ],
)
def test_s3_tells_a_checksum_of_the_whole_or_none(head: dict[str, Any], expected: Checksum | None) -> None:
    assert told("s3", head) == expected


def test_other_stores_tell_theirs() -> None:
    md5 = hashlib.md5(DATA).digest()
    assert told("gs", {"md5Hash": encoded(md5)}) == Checksum("md5", md5)
    assert told("gs", {"md5Hash": encoded(md5), "crc32c": "AAAAAQ=="}) == Checksum("crc32c", b"\0\0\0\1")
    assert told("az", {"content_settings": {"content_md5": bytearray(md5)}}) == Checksum("md5", md5)
    assert told("az", {"content_settings": {"content_md5": None}}) is None
    sha256 = hashlib.sha256(DATA)
    assert told("hf", {"lfs": types.SimpleNamespace(sha256=sha256.hexdigest())}) == Checksum("sha256", sha256.digest())
    assert told("hf", {"lfs": None, "blob_id": "0" * 40}) is None
    assert told("https", {"ETag": f'"{MD5}"'}) is None
