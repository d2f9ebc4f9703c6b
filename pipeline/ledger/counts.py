"""What the ledger counts of one shard: samples read, labeled and failed, and the classes found."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskmill.models.segment import Segment  # imports torch, which counting needs not


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassCount:
    """How often one class was found in one shard."""

    vocab_id: int
    """Vocabulary id of the class."""

    segments: int
    """Segments whose top class it is."""

    images: int
    """Images with at least one such segment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """The ledger of one shard: read = labeled + failed."""

    read: int = 0
    """Samples in the shard."""

    labeled: int = 0
    """Samples with status ok."""

    failed: dict[str, int] = field(default_factory=dict)
    """Failed samples by reason, reasons in alphabetical order."""

    segments: int = 0
    """Segments over all samples."""

    classes: tuple[ClassCount, ...] = ()
    """Classes found, by ascending id."""

    unkeyed: int = 0
    """Members of the archive without a webdataset key, which belong to no sample; directories aside."""

    truncated: bool = False
    """The shard was cut and only its whole samples were taken."""

    directories: int | None = None
    """Directories of the archive; None where an earlier version counted, which didn't know them."""

    warned: dict[str, int] = field(default_factory=dict)
    """Samples by warning, in alphabetical order; of an earlier version none."""

    def __post_init__(self) -> None:
        assert self.read == self.labeled + sum(self.failed.values()), f"the ledger doesn't add up: {self}"

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Counts":
        """The counts that `to_json` wrote."""
        classes = tuple(ClassCount(**entry) for entry in value["classes"])
        return cls(**{**value, "classes": classes})


class Tally:
    """Counts while a shard is being labeled."""

    def __init__(self) -> None:
        self._labeled = 0
        self._failed: Counter[str] = Counter()
        self._segments: Counter[int] = Counter()
        self._images: Counter[int] = Counter()
        self._warned: Counter[str] = Counter()

    def warned(self, warnings: Iterable[str]) -> None:
        """Count what one sample warns of."""
        self._warned.update(warnings)

    def labeled(self, segments: "tuple[Segment, ...]") -> None:
        """Count one labeled sample."""
        self._labeled += 1
        found = [segment.vocab_id for segment in segments]
        self._segments.update(found)
        self._images.update(set(found))

    def failed(self, reason: str) -> None:
        """Count one failed sample."""
        self._failed[reason] += 1

    def counts(self, *, unkeyed: int = 0, truncated: bool = False, directories: int | None = None) -> Counts:
        """What has been counted so far."""
        return Counts(
            read=self._labeled + sum(self._failed.values()),
            labeled=self._labeled,
            failed=dict(sorted(self._failed.items())),
            segments=sum(self._segments.values()),
            classes=tuple(
                ClassCount(vocab_id=vocab_id, segments=count, images=self._images[vocab_id])
                for vocab_id, count in sorted(self._segments.items())
            ),
            unkeyed=unkeyed,
            truncated=truncated,
            directories=directories,
            warned=dict(sorted(self._warned.items())),
        )
