"""A COCO file of images and annotations, put together from the lines of shards: never in memory as a whole."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from maskmill.models.vocabulary import Entry, Vocabulary
from maskmill.pipeline.export.destination import Destination
from maskmill.pipeline.export.plan import ShardPlan
from maskmill.pipeline.export.sample import ExportedSample

_LISTS = ("images", "annotations")


def dumped(value: Any) -> bytes:
    """JSON in one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def image_entry(sample: ExportedSample) -> dict[str, Any]:
    """What both COCO formats say of an image; beyond COCO's fields, where it stands in the label table."""
    return {
        "id": sample.image_id,
        "file_name": sample.file_name,
        "height": sample.size[0],
        "width": sample.size[1],
        "shard": sample.shard,
        "sample_index": sample.sample_index,
        "key": sample.key,
        "sha256": sample.sha256,
    }


def categories(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Categories of COCO: a class's id is its vocabulary id."""
    return [{"id": entry.vocab_id, "name": entry.name, "supercategory": kind(entry)} for entry in vocabulary]


def kind(entry: Entry) -> str:
    """`stuff`, or `thing`: also where nobody said, since only stuff merges."""
    return entry.kind or "thing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """A shard's entries as they are written."""

    images: BinaryIO
    annotations: BinaryIO

    def image(self, entry: dict[str, Any]) -> None:
        """One entry of `images`."""
        self.images.write(b",\n" + dumped(entry))

    def annotation(self, entry: dict[str, Any]) -> None:
        """One entry of `annotations`."""
        self.annotations.write(b",\n" + dumped(entry))


@contextmanager
def shard_lines(folder: Path, plan: ShardPlan) -> Iterator[Lines]:
    """Where the entries of a shard go."""
    with _part(folder, plan, "images").open("wb") as images, _part(folder, plan, "annotations").open("wb") as found:
        yield Lines(images=images, annotations=found)


def take(folder: Path, plan: ShardPlan) -> None:
    """Append the entries of the next shard to those of the shards before."""
    for name in _LISTS:
        part = _part(folder, plan, name)
        with part.open("rb") as lines, (folder / name).open("ab") as whole:
            if whole.tell() == 0:
                lines.seek(1)  # no comma before the first entry
            shutil.copyfileobj(lines, whole, 1 << 20)
        part.unlink()


def publish(head: dict[str, Any], folder: Path, destination: Destination, name: str) -> None:
    """Put the whole file together and publish it.

    Args:
        head: what comes before the two lists.
        folder: where `take` appended.
        destination: DEST.
        name: of the file.
    """
    local = folder / "whole.json"
    with local.open("wb") as file:
        file.write(b"{\n" + b"".join(dumped(key) + b": " + dumped(value) + b",\n" for key, value in head.items()))
        for place, key in enumerate(_LISTS):
            file.write((b",\n" if place else b"") + dumped(key) + b": [")
            with (folder / key).open("rb") as entries:
                shutil.copyfileobj(entries, file, 1 << 20)
            (folder / key).unlink()
            file.write(b"\n]")
        file.write(b"\n}\n")
    destination.publish(local, name)


def _part(folder: Path, plan: ShardPlan, name: str) -> Path:
    return folder / f"{plan.number:06d}.{name}"
