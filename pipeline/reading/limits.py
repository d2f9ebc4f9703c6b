"""How shards are read: what one shard and one sample may cost, and which members are a sample's image and caption.

The numbers bound memory and time on data that nobody vouches for.
"""

import re
from dataclasses import dataclass

from maskmill.models.errors import UsageError


def _within(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} {value!r}: expected a whole number from {low} to {high}. Try the default.")


_EXTENSION = re.compile(r"[^\s/.][^\s/]{0,99}")


def _member(name: str, value: str | None) -> None:
    if value is None:
        return
    if not isinstance(value, str) or not _EXTENSION.fullmatch(value) or value != value.lower():
        raise UsageError(
            f"{name} {value!r}: expected what follows KEY. in a member's name, in lower case, such as input.jpg."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadLimits:
    """Bounds that a shard and its samples must keep, and which members of a sample are read."""

    max_member_bytes: int = 256 * 2**20
    """A shard with a member of more bytes than this is refused before the member is read."""

    max_members: int = 2_000_000
    """A shard with more members than this is refused; its list of members would not fit beside the model."""

    max_pixels: int = 89_478_485
    """An image whose header declares more pixels (width x height) is a failed sample and never decoded. The default is
    Pillow's own: a quarter of a gigabyte of RGB."""

    max_caption_bytes: int = 2**20
    """A txt or json member of more bytes is not read for its caption; the row says so in its warnings."""

    keep_truncated: bool = False
    """Label the whole samples of a shard that was cut short, and mark it, instead of failing the shard."""

    image_member: str | None = None
    """What follows KEY. in the name of a sample's image, such as input.jpg; no other member is taken for one. Default:
    jpg, jpeg, png or webp, the first of them that is there."""

    caption_member: str | None = None
    """What follows KEY. in the name of a sample's caption, such as caption.txt: text, or JSON with a `caption` where it
    ends in json. Default: txt, else json."""

    def __post_init__(self) -> None:
        _member("--image-member", self.image_member)
        _member("--caption-member", self.caption_member)
        if self.image_member is not None and self.image_member == self.caption_member:
            raise UsageError(f"--caption-member {self.caption_member!r}: is the --image-member. Name another.")
        _within("--max-member-bytes", self.max_member_bytes, 1, 2**40)
        _within("--max-members", self.max_members, 1, 100_000_000)
        _within("--max-pixels", self.max_pixels, 1, 1_000_000_000)
        _within("--max-caption-bytes", self.max_caption_bytes, 1, 2**30)
