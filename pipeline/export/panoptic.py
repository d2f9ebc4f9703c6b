"""COCO panoptic: a PNG of segment ids an image, and one JSON file. Each pixel is in one segment or in none."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskmill.pipeline.export import coco_json
from maskmill.pipeline.export.destination import Destination, Sender
from maskmill.pipeline.export.formats import IMAGES, Context, with_images_sent
from maskmill.pipeline.export.masks import painted, stretched
from maskmill.pipeline.export.palette import class_colours
from maskmill.pipeline.export.plan import ShardPlan
from maskmill.pipeline.export.sample import ExportedSample, ExportedSegment, short
from maskmill.pipeline.export.tally import Tally

FILE, FOLDER = "panoptic.json", "panoptic"

VOID = 0
"""Segment id of pixels in no segment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panoptic:
    """Writes FILE and the PNGs in FOLDER. Source of the form: cocodataset.org, format of panoptic data; panopticapi.

    Where masks overlap the higher score is on top. A stuff class has one segment an image; its score is the highest.
    """

    context: Context

    @property
    def made(self) -> tuple[str, ...]:
        """See `formats.Format`."""
        return (FILE, FOLDER, IMAGES)

    def write(
        self, plan: ShardPlan, samples: Iterator[ExportedSample], *, folder: Path, sender: Sender, tally: Tally
    ) -> None:
        """See `formats.Format`."""
        stuff = {entry.vocab_id for entry in self.context.vocabulary if entry.kind == "stuff"}
        with coco_json.shard_lines(folder, plan) as lines:
            for sample in with_images_sent(samples, sender):
                ids = _ids(sample.segments, stuff)
                canvas = _canvas(sample, ids)
                infos = _infos(sample.segments, ids, canvas)
                tally.merged += len(ids) - len(set(ids))
                tally.hidden += len(set(ids)) - len(infos)
                name = f"{sample.name}.png"
                sender.put(f"{FOLDER}/{name}", _png(canvas))
                lines.image(coco_json.image_entry(sample))
                lines.annotation({"image_id": sample.image_id, "file_name": name, "segments_info": infos})

    def take(self, plan: ShardPlan, folder: Path) -> None:
        """See `formats.Format`."""
        coco_json.take(folder, plan)

    def finish(self, destination: Destination, folder: Path) -> None:
        """See `formats.Format`."""
        vocabulary = self.context.vocabulary
        categories = [
            {**category, "isthing": int(coco_json.kind(entry) == "thing"), "color": list(colour)}
            for category, entry, colour in zip(
                coco_json.categories(vocabulary), vocabulary, class_colours(len(vocabulary)), strict=True
            )
        ]
        head = {"info": self.context.info, "licenses": [], "categories": categories}
        coco_json.publish(head, folder, destination, FILE)


def _ids(segments: tuple[ExportedSegment, ...], stuff: set[int]) -> list[int]:
    """A segment id for each segment, from 1; those of one stuff class share theirs."""
    of_stuff: dict[int, int] = {}
    ids = []
    for number, segment in enumerate(segments, 1):
        ids.append(of_stuff.setdefault(segment.vocab_id, number) if segment.vocab_id in stuff else number)
    return ids


def _canvas(sample: ExportedSample, ids: list[int]) -> NDArray[np.int32]:
    """Segment ids of the image's pixels."""
    masks = [segment.mask for segment in sample.segments]
    order = [segment.score for segment in sample.segments]
    return stretched(painted(masks, ids, order, sample.mask_size, VOID), sample.size)


def _infos(segments: tuple[ExportedSegment, ...], ids: list[int], canvas: NDArray[np.int32]) -> list[dict[str, Any]]:
    """`segments_info` of one image: the segments that can be seen, with what can be seen of them."""
    from scipy.ndimage import find_objects

    areas = np.bincount(canvas.ravel(), minlength=len(segments) + 1)
    boxes = find_objects(canvas, max_label=len(segments))
    infos = []
    for number in sorted(set(ids)):
        if not areas[number]:
            continue
        rows, columns = boxes[number - 1]
        mine = [segment for segment, own in zip(segments, ids, strict=True) if own == number]
        infos.append(
            {
                "id": number,
                "category_id": mine[0].vocab_id,
                "area": int(areas[number]),
                "bbox": [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start],
                "iscrowd": 0,
                "score": short(max(segment.score for segment in mine)),
            }
        )
    return infos


def _png(canvas: NDArray[np.int32]) -> bytes:
    """Segment ids as colours: R + 256 G + 256^2 B."""
    height, width = canvas.shape
    bytes_of_ids = np.ascontiguousarray(canvas).astype("<u4").view(np.uint8).reshape(height, width, 4)
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(bytes_of_ids[..., :3])).save(file, "PNG")
    return file.getvalue()
