"""A label table as something to learn from: images of done shards, each with the masks that a filter lets through.

What a class map from a seg.png is to `pairs.py`, the segments of a row are here. Decodes nothing until it is asked to.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskmill.models.errors import UsageError
from maskmill.models.masks import rle
from maskmill.models.training.augmentation import UNKNOWN, UNLABELED
from maskmill.pipeline.content import open_labeled, rows_of
from maskmill.pipeline.dataset.walk import in_step, told
from maskmill.pipeline.reading.grouping import group
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.samples import image_of
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.table.filters import BoundFilter
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.schema import STATUS_OK
from maskmill.pipeline.truth.pairs import Span

COLUMNS = ["key", "sample_index", "status", "width", "height", "mask_width", "mask_height", "segments", "masks"]
"""What of the label table is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledPair:
    """One image and its labels: the image bytes on disk, the masks as run lengths in memory (1 or 2 KB an image)."""

    source: str
    """Canonical URL of its shard."""

    index: int
    """Position in the shard."""

    key: str
    """webdataset's `__key__`."""

    image: Span
    """The image file."""

    size: tuple[int, int]
    """Width, height of the image that was labeled."""

    mask_size: tuple[int, int]
    """Height, width of the masks."""

    masks: tuple[bytes, ...]
    """Run lengths in the order in which they are painted: dropped segments first, then kept ones, best score last."""

    ids: tuple[int, ...]
    """Of each mask: vocabulary id, or `UNKNOWN` where the filter dropped it."""

    scores: tuple[float, ...]
    """Of each mask: probability of its class."""

    listed: tuple[tuple[tuple[int, ...], tuple[float, ...]], ...]
    """Of each mask: the vocabulary ids that its row lists, and their logits."""

    @property
    def stated(self) -> str:
        """What tells it from another, its labels included, in one line."""
        return f"{self.source}\n{self.index}\n{self.key}\n{self.image.size}\n{self.ids}\n{self.masks}\n"

    def taught(self, image: Image.Image) -> tuple[Image.Image, NDArray[np.int32]]:
        """The image at the masks' size, and the class of each of its pixels.

        Segments of one class are one region, as ground truth has it; where segments overlap, the best score has the
        pixel. int32 [height, width]: `UNLABELED` in no segment, `UNKNOWN` in a dropped one.

        Raises:
            UsageError: the image hasn't the size that was labeled, or a mask is damaged.
        """
        image, places = self.painted(image)
        # Place -1 is the last one: no segment.
        return image, np.array([*self.ids, UNLABELED], np.int32)[places]

    def painted(self, image: Image.Image) -> tuple[Image.Image, NDArray[np.int32]]:
        """The image at the masks' size, and which of `masks` each pixel belongs to, from 0; -1 in none.

        Where segments overlap, the best score has the pixel.

        Raises:
            UsageError: the image hasn't the size that was labeled, or a mask is damaged.
        """
        height, width = self.mask_size
        if image.size != self.size or not (1 <= height <= image.height and 1 <= width <= image.width):
            raise self._wrong(f"{self.size[0]}x{self.size[1]} was labeled, the image is {image.width}x{image.height}")
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        # Painted column-major, as masks are stored.
        found = np.full((width, height), -1, np.int32)
        try:
            for place, mask in enumerate(self.masks):
                found[rle.decode(mask, self.mask_size).T] = place
        except ValueError as error:
            raise self._wrong(str(error)) from error
        return image, np.ascontiguousarray(found.T)

    def _wrong(self, what: str) -> UsageError:
        return UsageError(
            f"{self.source}: sample {self.index} ({self.key[:80]!r}): {what}. "
            "Check the table with `maskmill verify OUT --deep`, and label the shard again."
        )


@contextmanager
def open_labels(
    shard: Shard, table: LabelTable, keep: BoundFilter, scratch: Path, limits: ReadLimits
) -> Iterator[tuple[LabeledPair, ...]]:
    """The labeled images of a shard, readable for as long as the context lasts.

    Args:
        shard: a done one, with size and etag as they were when it was labeled.
        table: the run's label files.
        keep: which segments count.
        scratch: an existing local folder, for a shard that has to be downloaded.
        limits: those that the run was labeled with, so that samples are the same.

    Raises:
        UsageError: the shard isn't the one that was labeled, or its label file is damaged.
        EnvironmentFailure: it can't be fetched.
    """
    with told(shard), open_labeled(shard, table, scratch, limits) as opened:
        path = opened.path
        groups = group(opened.report, first_version=opened.first_version)
        samples = ((index, one.key, one.members) for index, one in enumerate(groups))
        found = []
        for members, row in in_step(samples, rows_of(table, shard, COLUMNS)):
            member = image_of(members, limits)
            if row["status"] == STATUS_OK and member is not None and member.fault is None:
                image = Span(str(path), member.offset, member.size)
                found.append(_pair(shard.url, image, row, keep))
        yield tuple(found)


def _pair(source: str, image: Span, row: Mapping[str, Any], keep: BoundFilter) -> LabeledPair:
    segments: Sequence[Any] = row["segments"]
    if len(segments) != len(row["masks"]):
        raise UsageError(
            f"{source}: sample {row['sample_index']}: {len(row['masks'])} masks for {len(segments)} segments. "
            "Label the shard again."
        )
    kept = [keep.keeps(segment) for segment in segments]
    # Equal scores keep the table's order, the first of them painted last; as in `pipeline.dataset.semantic_map`.
    order = sorted(range(len(segments)), key=lambda place: (kept[place], segments[place]["score"], -place))
    return LabeledPair(
        source=source,
        index=row["sample_index"],
        key=row["key"],
        image=image,
        size=(row["width"], row["height"]),
        mask_size=(row["mask_height"], row["mask_width"]),
        masks=tuple(row["masks"][place] for place in order),
        ids=tuple(segments[place]["vocab_id"] if kept[place] else UNKNOWN for place in order),
        scores=tuple(segments[place]["score"] for place in order),
        listed=tuple((tuple(segments[place]["top_ids"]), tuple(segments[place]["top_logits"])) for place in order),
    )
