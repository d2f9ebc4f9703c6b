"""What the record of a failed shard keeps of its first failed samples, bounded whatever the shard holds."""

from collections.abc import Sequence
from dataclasses import dataclass

FAILED_SAMPLES = 10
"""Failed samples that are kept of a shard."""

_MEMBERS = 8
_KEY = 200
_EXTENSION = 60
_EXAMPLE = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedSample:
    """One sample of a shard of which too many failed."""

    key: str
    """webdataset's `__key__`; of a long one its beginning."""

    sample_index: int
    """Position in the shard, from 0."""

    members: tuple[str, ...]
    """Extensions of its first members."""

    error: str
    """`REASON: detail`."""

    @property
    def stated(self) -> str:
        """The sample as an example in the error of its shard."""
        return f"{self.key[:_EXAMPLE]!r}: {self.error}"

    @classmethod
    def of(cls, key: str, sample_index: int, members: Sequence[str], error: str) -> "FailedSample":
        """A failed sample, cut to what is kept of it; `error` is bounded already."""
        return cls(
            key=key[:_KEY],
            sample_index=sample_index,
            members=tuple(name[:_EXTENSION] for name in members[:_MEMBERS]),
            error=error,
        )
