"""What `maskmill report` can be told."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from maskmill.models.errors import UsageError

PAGE_BYTES = 10_000_000
"""A page is no larger, whatever the run's size and whatever stands in it."""

MOST_IMAGES = 400
"""More pictures would have to be too small to judge."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """How much a report shows."""

    seed: int = 0
    """Draws the samples; the same seed over the same table draws the same."""

    images: int = 60
    """Most images on the contact sheet, up to 400; the more there are, the smaller they may have to be."""

    image_shards: int = 8
    """Most source shards that these come from; each is fetched whole where it lies in a store."""

    shards_at: tuple[str, ...] = ()
    """OLD=NEW: shards that were labeled below OLD, a folder or URL, lie below NEW now."""

    scratch: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    """Local folder for source shards while they are read."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: expected 0 or more.")
        if not 0 <= self.images <= MOST_IMAGES:
            raise UsageError(f"--images {self.images}: expected 0 to {MOST_IMAGES}.")
        if self.image_shards < 1:
            raise UsageError(f"--image-shards {self.image_shards}: expected 1 or more.")
