"""What every format is given and must do. Which there are stands in export.py, what they write in their own files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.export.destination import Destination, Sender
from maskmill.pipeline.export.plan import ShardPlan
from maskmill.pipeline.export.sample import ExportedSample
from maskmill.pipeline.export.tally import Tally

FormatName = Literal["coco", "coco-panoptic", "png", "hf"]

IMAGES = "images"
"""Folder of the images below DEST, where a format doesn't hold them itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What the files say of where they come from."""

    vocabulary: Vocabulary
    """The run's."""

    info: dict[str, Any]
    """The run's fingerprint, its form, the filter, the program's version: JSON values."""

    shards: int
    """How many are exported."""


class Format(Protocol):
    """Writes shards, in any order and several at once, then what holds them together."""

    @property
    def made(self) -> tuple[str, ...]:
        """Names of the files and folders that it makes directly below DEST."""

    def write(
        self, plan: ShardPlan, samples: Iterator[ExportedSample], *, folder: Path, sender: Sender, tally: Tally
    ) -> None:
        """Write a shard: files that stand for themselves go to the sender, parts of others into the folder.

        Raises:
            ValueError: a mask is damaged.
        """

    def take(self, plan: ShardPlan, folder: Path) -> None:
        """Take up the parts of a shard; called in order of shards, in the process that finishes."""

    def finish(self, destination: Destination, folder: Path) -> None:
        """Publish what holds the shards together."""


def with_images_sent(samples: Iterable[ExportedSample], sender: Sender) -> Iterator[ExportedSample]:
    """The samples; the image of each, if it has one, is on its way to DEST."""
    for sample in samples:
        if sample.image is not None:
            sender.put(f"{IMAGES}/{sample.file_name}", sample.image.data)
        yield sample
