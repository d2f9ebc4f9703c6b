"""A folder that Hugging Face `datasets` loads by its name: Parquet files and a card, with the features declared."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from maskmill.pipeline.export.destination import Destination, Sender
from maskmill.pipeline.export.formats import Context
from maskmill.pipeline.export.plan import ShardPlan
from maskmill.pipeline.export.sample import ExportedSample
from maskmill.pipeline.export.tally import Tally
from maskmill.pipeline.stores.publish import remove_all, remove_folder

CARD, DATA = "README.md", "data"

ROW_GROUP_BYTES = 32 << 20
"""About what one row group holds: viewers and loaders fetch whole ones."""

ROW_GROUP_ROWS = 1000
"""Most rows of one."""

_SEGMENT = {
    "category": pa.int64(), "score": pa.float32(), "margin": pa.float32(), "mask_score": pa.float32(),
    "stability": pa.float32(), "kept": pa.float32(), "agreement": pa.float32(), "area": pa.int32(),
    "bbox": pa.list_(pa.int32()), "rle": pa.string(),
}  # fmt: skip
"""Fields of a segment; `datasets` keeps class labels as int64."""

_SAMPLE = {
    "key": pa.string(), "shard": pa.string(), "sample_index": pa.int32(), "sha256": pa.string(), "width": pa.int32(),
    "height": pa.int32(), "caption": pa.string(),
}  # fmt: skip

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How `datasets` stores an image that travels with its row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HuggingFace:
    """Writes data/*.parquet, one file a shard, and the card."""

    context: Context
    images: bool
    """Whether images travel with the rows."""

    @property
    def made(self) -> tuple[str, ...]:
        """See `formats.Format`."""
        return (CARD, DATA)

    def write(
        self, plan: ShardPlan, samples: Iterator[ExportedSample], *, folder: Path, sender: Sender, tally: Tally
    ) -> None:
        """See `formats.Format`."""
        local = folder / f"{plan.number:06d}.parquet"
        schema = self.schema()
        with pq.ParquetWriter(local, schema, compression="zstd", write_page_index=True) as file:
            for rows in _groups(_row(sample) for sample in samples):
                file.write_table(pa.Table.from_pylist(rows, schema=schema))
        sender.destination.publish(local, self._file(plan.number))
        local.unlink()

    def take(self, plan: ShardPlan, folder: Path) -> None:
        """See `formats.Format`: its files stand for themselves."""

    def finish(self, destination: Destination, folder: Path) -> None:
        """See `formats.Format`."""
        local = folder / CARD
        local.write_text(self._card(), encoding="utf-8")
        destination.publish(local, CARD)

    def withdraw(self, destination: Destination) -> None:
        """Remove what this export left at DEST: files without rows, which `datasets` doesn't load."""
        remove_all([destination.place(self._file(number)) for number in range(self.context.shards)])
        remove_folder(destination.place(DATA))
        destination.remove_mark()

    def _file(self, number: int) -> str:
        return f"{DATA}/train-{number:05d}-of-{self.context.shards:05d}.parquet"

    def schema(self) -> pa.Schema:
        """Columns, and in the metadata what `datasets` takes them for."""
        columns = {**({"image": _IMAGE} if self.images else {}), **_SAMPLE}
        fields = [*columns.items(), ("segments", pa.list_(pa.struct(_SEGMENT.items())))]
        features = {
            **({"image": {"_type": "Image"}} if self.images else {}),
            **{name: _value(kind) for name, kind in _SAMPLE.items()},
            # A list written as a list: releases before 4 know no other word for it.
            "segments": [{name: _value(kind) for name, kind in _SEGMENT.items()} | {"category": self._labels()}],
        }
        return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})

    def _labels(self) -> dict[str, Any]:
        return {"_type": "ClassLabel", "names": list(self.context.vocabulary.names)}

    def _card(self) -> str:
        names = {str(number): name for number, name in enumerate(self.context.vocabulary.names)}
        segment = [{"name": "category", "dtype": {"class_label": {"names": names}}}]
        segment += [_declared(name, kind) for name, kind in _SEGMENT.items() if name != "category"]
        features = [
            *([{"name": "image", "dtype": "image"}] if self.images else []),
            *(_declared(name, kind) for name, kind in _SAMPLE.items()),
            {"name": "segments", "list": segment},
        ]
        head = {
            "task_categories": ["image-segmentation"],
            "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
            "dataset_info": {"features": features},
        }
        front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)
        info = json.dumps(self.context.info, indent=2, ensure_ascii=False)
        return f"---\n{front}---\n\n{_TEXT.format(info=info)}"


def _value(kind: pa.DataType) -> Any:
    """A type as `datasets` spells it in a schema's metadata."""
    return [_value(kind.value_type)] if pa.types.is_list(kind) else {"_type": "Value", "dtype": _dtype(kind)}


def _declared(name: str, kind: pa.DataType) -> dict[str, Any]:
    """A column as a card declares it."""
    if pa.types.is_list(kind):
        return {"name": name, "list": _dtype(kind.value_type)}
    return {"name": name, "dtype": _dtype(kind)}


def _dtype(kind: pa.DataType) -> str:
    return {"float": "float32"}.get(str(kind), str(kind))


def _row(sample: ExportedSample) -> dict[str, Any]:
    image = sample.image
    segments = []
    for segment in sample.segments:
        mask = sample.full_mask(segment)
        segments.append(
            {
                "category": segment.vocab_id,
                "score": segment.score,
                "margin": segment.margin,
                "mask_score": segment.mask_score,
                "stability": segment.stability,
                "kept": segment.kept,
                "agreement": segment.agreement,
                "area": mask.area,
                "bbox": mask.bbox,
                "rle": mask.rle.decode("ascii"),
            }
        )
    return {
        **({} if image is None else {"image": {"bytes": image.data, "path": sample.file_name}}),
        "key": sample.key,
        "shard": sample.shard,
        "sample_index": sample.sample_index,
        "sha256": sample.sha256,
        "width": sample.size[1],
        "height": sample.size[0],
        "caption": sample.caption,
        "segments": segments,
    }


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows by the row group."""
    group: list[dict[str, Any]] = []
    held = 0
    for row in rows:
        group.append(row)
        held += sum(len(segment["rle"]) + 64 for segment in row["segments"])
        held += len(row["image"]["bytes"]) if "image" in row else 0
        if held >= ROW_GROUP_BYTES or len(group) >= ROW_GROUP_ROWS:
            yield group
            group, held = [], 0
    if group:
        yield group


_TEXT = """\
# Segmentation pseudo-labels

Written by a model, not by people: see `score` before you trust one. `datasets.load_dataset` takes this folder.

| column | |
|---|---|
| `image` | the image file as it stood in its shard, if it was exported |
| `key`, `shard`, `sample_index` | where the sample stands in the source shards |
| `sha256` | of the image file, in hexadecimal |
| `width`, `height` | of the image, upright (EXIF orientation applied) |
| `caption` | null if there is none |
| `segments` | a list of: |
| `category` | class |
| `score`, `margin` | probability of the class; how far the second class's is below it |
| `mask_score`, `stability` | mean foreground probability in the mask; its IoU at logit +1 and -1 |
| `kept` | share of the query's own mask; null in semantic form, as the two above |
| `agreement` | mean IoU with the masks of other views of the image; null where they were not asked for |
| `area`, `bbox` | pixels; x, y, width, height |
| `rle` | the mask: COCO compressed run lengths of size [height, width] |

A mask is read with:

```python
from pycocotools import mask
mask.decode({{"size": [row["height"], row["width"]], "counts": row["segments"][0]["rle"]}})
```

Made from:

```json
{info}
```
"""
