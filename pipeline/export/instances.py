"""COCO instances: one JSON file, a mask an annotation. Masks may overlap; they stay as they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maskmill.pipeline.export import coco_json
from maskmill.pipeline.export.destination import Destination, Sender
from maskmill.pipeline.export.formats import IMAGES, Context, with_images_sent
from maskmill.pipeline.export.plan import ShardPlan
from maskmill.pipeline.export.sample import ExportedSample, scores
from maskmill.pipeline.export.tally import Tally

FILE = "instances.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Instances:
    """Writes FILE. Source of the form: cocodataset.org, format of object detection data and results."""

    context: Context

    @property
    def made(self) -> tuple[str, ...]:
        """See `formats.Format`."""
        return (FILE, IMAGES)

    def write(
        self, plan: ShardPlan, samples: Iterator[ExportedSample], *, folder: Path, sender: Sender, tally: Tally
    ) -> None:
        """See `formats.Format`."""
        with coco_json.shard_lines(folder, plan) as lines:
            for sample in with_images_sent(samples, sender):
                lines.image(coco_json.image_entry(sample))
                for segment in sample.segments:
                    mask = sample.full_mask(segment)
                    lines.annotation(
                        {
                            "id": segment.number,
                            "image_id": sample.image_id,
                            "category_id": segment.vocab_id,
                            "segmentation": {"size": list(sample.size), "counts": mask.rle.decode("ascii")},
                            "area": mask.area,
                            "bbox": list(mask.bbox),
                            "iscrowd": 0,
                            **scores(segment),
                            "query": segment.query,
                        }
                    )

    def take(self, plan: ShardPlan, folder: Path) -> None:
        """See `formats.Format`."""
        coco_json.take(folder, plan)

    def finish(self, destination: Destination, folder: Path) -> None:
        """See `formats.Format`."""
        head = {"info": self.context.info, "licenses": [], "categories": coco_json.categories(self.context.vocabulary)}
        coco_json.publish(head, folder, destination, FILE)
