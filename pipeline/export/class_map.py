"""Class-id PNGs: one class a pixel, laid out as `train` and `evaluate` read ground truth (images/, annotations/)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.export.destination import Destination, Sender
from maskmill.pipeline.export.formats import IMAGES, Context, with_images_sent
from maskmill.pipeline.export.masks import painted, stretched
from maskmill.pipeline.export.palette import UNLABELED, class_colours
from maskmill.pipeline.export.plan import ShardPlan
from maskmill.pipeline.export.sample import ExportedSample
from maskmill.pipeline.export.tally import Tally
from maskmill.pipeline.truth.pairs import ANNOTATIONS

VOCABULARY_FILE = "vocabulary.json"
"""Names of the ids; `--vocab` takes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMaps:
    """Writes a PNG an image; where masks overlap the higher score is on top.

    Up to 255 classes a pixel is a byte and 255 is unlabeled, with a palette; more take 16 bits without one, and 65535
    is unlabeled, as data sets of so many classes have it (ADE20K-847) and `pipeline.truth.class_map` reads it.
    No vocabulary is larger than that.
    """

    context: Context

    @property
    def unlabeled(self) -> int:
        """What a pixel without a label holds."""
        return 255 if len(self.context.vocabulary) <= 255 else 65535

    @property
    def made(self) -> tuple[str, ...]:
        """See `formats.Format`."""
        return (ANNOTATIONS, VOCABULARY_FILE, IMAGES)

    def write(
        self, plan: ShardPlan, samples: Iterator[ExportedSample], *, folder: Path, sender: Sender, tally: Tally
    ) -> None:
        """See `formats.Format`."""
        palette = _palette(len(self.context.vocabulary)) if self.unlabeled == 255 else None
        for sample in with_images_sent(samples, sender):
            masks = [segment.mask for segment in sample.segments]
            ids = [segment.vocab_id for segment in sample.segments]
            order = [segment.score for segment in sample.segments]
            canvas = stretched(painted(masks, ids, order, sample.mask_size, self.unlabeled), sample.size)
            sender.put(f"{ANNOTATIONS}/{sample.name}.png", _png(canvas, palette))

    def take(self, plan: ShardPlan, folder: Path) -> None:
        """See `formats.Format`: its files stand for themselves."""

    def finish(self, destination: Destination, folder: Path) -> None:
        """See `formats.Format`."""
        local = folder / VOCABULARY_FILE
        local.write_text(_names(self.context.vocabulary), encoding="utf-8")
        destination.publish(local, VOCABULARY_FILE)


@cache
def _palette(classes: int) -> bytes:
    colours = class_colours(classes)
    return bytes(value for colour in [*colours, *[UNLABELED] * (256 - classes)] for value in colour)


def _png(canvas: NDArray[np.int32], palette: bytes | None) -> bytes:
    file = BytesIO()
    image = Image.fromarray(canvas.astype(np.uint16 if palette is None else np.uint8))
    if palette is not None:
        image.putpalette(palette)
    image.save(file, "PNG")
    return file.getvalue()


def _names(vocabulary: Vocabulary) -> str:
    """The vocabulary as a file of one."""
    entries = []
    for entry in vocabulary:
        said = {"name": entry.name, "synonyms": list(entry.synonyms), "kind": entry.kind}
        entries.append({key: value for key, value in said.items() if value})
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
