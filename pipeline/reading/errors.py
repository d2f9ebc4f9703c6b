"""Why a sample or a shard could not be read, and what a row warns about: fixed words that the ledger counts by."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from maskmill.pipeline.stores.urls import redact

SampleReason = Literal[
    "missing_image",
    "link",
    "special_file",
    "sparse",
    "empty",
    "truncated",
    "decode",
    "unknown_format",
    "too_large",
    "out_of_memory",
    "not_finite",
]
ShardReason = Literal[
    "missing",
    "read",
    "size_mismatch",
    "changed",
    "checksum",
    "empty",
    "not_tar",
    "compressed",
    "bad_header",
    "member_too_large",
    "too_many_members",
    "truncated",
    "trailing_data",
    "too_many_failed",
    "device",
    "disk",
    "publish",
    "other_run",
    "crashed",
    "stalled",
    "internal",
]
WarningWord = Literal[
    "duplicate_key",
    "duplicate_member",
    "split_sample",
    "several_images",
    "key_text",
    "caption_text",
    "caption_json",
]

SAMPLE_REASONS: Mapping[SampleReason, str] = MappingProxyType(
    {
        "missing_image": "no member with the extension jpg, jpeg, png or webp, or that of --image-member",
        "link": "the image member is a link, and what it leads to is no earlier file of the archive",
        "special_file": "the image member is a device, a FIFO, or the rest of a file from another volume",
        "sparse": "the image member is stored with holes (tar --sparse)",
        "empty": "the image member has no bytes",
        "truncated": "the image's data ends before its last pixel",
        "decode": "the image's data is corrupt",
        "unknown_format": "the bytes are not JPEG, PNG or WebP, whatever the extension says",
        "too_large": "the image's header declares more pixels than the limit",
        "out_of_memory": "the model ran out of memory on this image alone",
        "not_finite": "the model gave NaN or infinity for this image",
    }
)
"""Reason word of a failed sample -> what it means. The ledger has one count a word, in this order."""

SHARD_REASONS: Mapping[ShardReason, str] = MappingProxyType(
    {
        "missing": "the store has no such object",
        "read": "the store or the network failed while the shard was downloaded",
        "size_mismatch": "fewer or more bytes arrived than the store says the shard has",
        "changed": "the object is not the one that was asked for: its etag or size moved",
        "checksum": "the bytes that arrived are not those that the store holds, however often they were fetched",
        "empty": "the shard has no bytes",
        "not_tar": "the bytes are not a tar archive",
        "compressed": "the archive is compressed; members could not be checked before they are unpacked",
        "bad_header": "a member's header is corrupt, or asks for more than any archive needs",
        "member_too_large": "a member is larger than the limit",
        "too_many_members": "the archive has more members than the limit",
        "truncated": "the archive stops before its end-of-archive blocks",
        "trailing_data": "data after the end of the archive, as when two archives share one file",
        "too_many_failed": "more than the allowed share of the shard's samples failed",
        "device": "the accelerator failed",
        "disk": "a disk is full, the replica's scratch or the output's",
        "publish": "the label file could not be put at its place",
        "other_run": "OUT holds another run, or a label file of one at the shard's place",
        "crashed": "the process that labeled it died each time, also when it held no other shard",
        "stalled": "its labeling stopped without an error, and the process was ended each time",
        "internal": "a mistake of maskmill's own; the replica's log has the traceback",
    }
)
"""Reason word of a failed shard -> what it means."""

ENVIRONMENT_REASONS: frozenset[ShardReason] = frozenset({"device", "disk", "publish"})
"""Reasons that say nothing about the shard: a job that meets one ends with exit code 3."""

WARNINGS: Mapping[WarningWord, str] = MappingProxyType(
    {
        "duplicate_key": "another sample of the shard has this key and some of the same members",
        "duplicate_member": "the sample names one extension twice (a.JPG beside a.jpg); the first is used",
        "split_sample": "its members are not adjacent in the archive; they were put together",
        "several_images": "more than one image member; the first of jpg, jpeg, png, webp is used",
        "key_text": "a member's name is not UTF-8; its other bytes are written as \\xNN in the key",
        "caption_text": "the txt member is not UTF-8, too long or no file; what could be read is used",
        "caption_json": "the json member is broken, too long, no file, or its caption is not text",
    }
)
"""Word in a row's `warnings` -> what it means."""

MAX_DETAIL = 300
"""Characters of an error's detail; what is longer is cut."""


def one_line(detail: str) -> str:
    """The detail as one printable, redacted line of bounded length, valid as UTF-8."""
    # Cut before redacting, so that a hostile text of megabytes costs nothing, and after, so that the bound holds.
    line = redact(" ".join(detail[: 8 * MAX_DETAIL].split()))
    clean = "".join(character if character.isprintable() else "?" for character in line)
    return clean if len(clean) <= MAX_DETAIL else clean[: MAX_DETAIL - 1] + "…"


class ReadingError(Exception):
    """A fixed reason word and a line that says more."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        # Both travel between processes; the default would rebuild them from the joined text.
        return type(self), (self.reason, self.detail)


class SampleError(ReadingError):
    """A sample that cannot be labeled: its row has status `failed` and this as `error`."""

    def __init__(self, reason: SampleReason, detail: str = "") -> None:
        assert reason in SAMPLE_REASONS, reason
        super().__init__(reason, detail)
        self.reason: SampleReason = reason
        self.detail = one_line(detail)


class ShardError(ReadingError):
    """A shard that cannot be labeled: it goes to `failed/` with this as its error."""

    def __init__(self, reason: ShardReason, detail: str = "") -> None:
        assert reason in SHARD_REASONS, reason
        super().__init__(reason, detail)
        self.reason: ShardReason = reason
        self.detail = one_line(detail)
