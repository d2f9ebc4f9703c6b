"""What one shard and one sample may cost. The numbers bound memory and time on data that nobody vouches for."""

from dataclasses import dataclass

from maskmill.models.errors import UsageError


def _within(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} {value!r}: expected a whole number from {low} to {high}. Try the default.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadLimits:
    """Bounds that a shard and its samples must keep."""

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

    def __post_init__(self) -> None:
        _within("--max-member-bytes", self.max_member_bytes, 1, 2**40)
        _within("--max-members", self.max_members, 1, 100_000_000)
        _within("--max-pixels", self.max_pixels, 1, 1_000_000_000)
        _within("--max-caption-bytes", self.max_caption_bytes, 1, 2**30)
