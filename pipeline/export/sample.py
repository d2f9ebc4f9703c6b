"""A labeled sample as the formats take it: where it stands in the table, its segments, its name. Reads nothing."""

import re
from dataclasses import dataclass
from typing import Any

from maskmill.models.masks import rle
from maskmill.models.masks.rle import EncodedMask
from maskmill.pipeline.export.masks import stretched_mask

MAX_KEY = 80
"""Characters of a key that a file's name keeps, its last ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedSegment:
    """A segment that passed the filter."""

    number: int
    """From 1, over all segments of the table, those that the filter dropped included: no filter moves it."""

    vocab_id: int
    """Class."""

    query: int
    """Query that found it; -1 in semantic form."""

    score: float
    """Softmax probability of the class."""

    margin: float
    """Score minus the second class's."""

    mask_score: float | None
    """Mean foreground probability inside the mask; None in semantic form, as the two below."""

    stability: float | None
    """IoU of the mask at logit +1 and -1."""

    kept: float | None
    """Share of the query's own mask that the segment holds."""

    agreement: float | None
    """Mean IoU with the masks of other views of the image; None where the run wasn't asked for it."""

    mask: bytes
    """COCO compressed run lengths, at the table's mask size; not checked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFile:
    """The image as it stands in the shard."""

    data: bytes
    """The file."""

    extension: str
    """jpg, png or webp, by its first bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedSample:
    """A labeled sample and those of its segments that passed the filter."""

    image_id: int
    """From 1, over all samples of the table in order of shard URL, failed ones included: no filter moves it."""

    name: str
    """FOLDER/NAME without an ending, of letters, digits, `.`, `_` and `-`; no other sample has it."""

    key: str
    """webdataset's `__key__`, as it stands in the shard."""

    shard: str
    """Canonical URL, without the base where one is cut off."""

    sample_index: int
    """Position in the shard."""

    sha256: str
    """Of the image file, in hexadecimal."""

    caption: str | None
    """Caption, if the sample has one."""

    size: tuple[int, int]
    """Height, width of the image, upright."""

    mask_size: tuple[int, int]
    """Height, width of the table's masks: the image's or smaller."""

    segments: tuple[ExportedSegment, ...]
    """In the table's order."""

    image: ImageFile | None
    """The image, where it was asked for."""

    @property
    def file_name(self) -> str:
        """The name of its image file; without an ending where the image wasn't read, which alone could tell it."""
        return self.name if self.image is None else f"{self.name}.{self.image.extension}"

    def full_mask(self, segment: ExportedSegment) -> EncodedMask:
        """A segment's mask at the image's size.

        Raises:
            ValueError: it isn't the run lengths of a mask.
        """
        if self.mask_size == self.size:
            area, bbox = rle.area_and_bbox(segment.mask, self.size)
            return EncodedMask(rle=segment.mask, area=area, bbox=bbox)
        return stretched_mask(segment.mask, self.mask_size, self.size)


def sample_name(folder: str, sample_index: int, key: str) -> str:
    """FOLDER/NAME of a sample: its index keeps names apart; of the key only letters, digits, `_` and `-` stay."""
    clean = re.sub(r"[^A-Za-z0-9_-]+", "_", key[-MAX_KEY:]).strip("_")
    return f"{folder}/{sample_index:06d}-{clean}" if clean else f"{folder}/{sample_index:06d}"


def image_file(data: bytes) -> ImageFile:
    """An image file that was labeled, so of one of the three formats that are."""
    kinds = {b"\x89PNG": "png", b"RIFF": "webp"}
    return ImageFile(data=data, extension=kinds.get(data[:4], "jpg"))


def short(value: float | None) -> float | None:
    """A float32 of the table with the fewest digits that tell it from its neighbours; None for what JSON can't hold."""
    import numpy as np

    return None if value is None or not np.isfinite(value) else float(str(np.float32(value)))


def scores(segment: ExportedSegment) -> dict[str, Any]:
    """The numbers by which a segment can be judged, as JSON values."""
    return {
        "score": short(segment.score),
        "margin": short(segment.margin),
        "mask_score": short(segment.mask_score),
        "stability": short(segment.stability),
        "kept": short(segment.kept),
        "agreement": short(segment.agreement),
    }
