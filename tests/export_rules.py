"""What exports are held against: rows of a table read without our code, and the published rules of COCO panoptic."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from pycocotools import mask as coco

from maskmill.pipeline.output import Output


def rows_of(output: Output) -> list[dict[str, Any]]:
    """Labeled rows by shard and position, with masks `decoded`."""
    rows = [row for path in Path(output.labels).glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    found = [row for row in rows if row["status"] == "ok"]
    for row in found:
        size = [row["mask_height"], row["mask_width"]]
        row["decoded"] = [coco.decode({"size": size, "counts": mask}) for mask in row["masks"]]
    return sorted(found, key=lambda row: (row["shard"], row["sample_index"]))


def check_panoptic(file: Path, folder: Path) -> int:
    """Hold a data set against the format that cocodataset.org publishes and panopticapi relies on.

    Returns:
        How many segments it has.
    """
    data = json.loads(file.read_text())
    categories = {category["id"]: category for category in data["categories"]}
    images = {image["id"]: image for image in data["images"]}
    assert len(categories) == len(data["categories"])
    assert len(images) == len(data["images"])
    for category in data["categories"]:
        assert {"id", "name", "supercategory", "isthing", "color"} <= category.keys()
        assert category["isthing"] in (0, 1)
        assert len(category["color"]) == 3
    assert len({tuple(category["color"]) for category in data["categories"]}) == len(categories)
    assert [annotation["image_id"] for annotation in data["annotations"]] == list(images)
    segments = 0
    for annotation in data["annotations"]:
        image = images[annotation["image_id"]]
        with Image.open(folder / annotation["file_name"]) as png:
            assert (png.format, png.mode, png.size) == ("PNG", "RGB", (image["width"], image["height"]))
            pixels = np.asarray(png).astype(np.uint32)
        ids = pixels[..., 0] + 256 * pixels[..., 1] + 256**2 * pixels[..., 2]
        infos = annotation["segments_info"]
        assert {info["id"] for info in infos} == set(np.unique(ids).tolist()) - {0}
        assert len({info["id"] for info in infos}) == len(infos)
        stuff = [info["category_id"] for info in infos if not categories[info["category_id"]]["isthing"]]
        assert len(set(stuff)) == len(stuff)
        for info in infos:
            ys, xs = np.nonzero(ids == info["id"])
            assert info["area"] == len(xs)
            assert info["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert info["iscrowd"] in (0, 1)
        segments += len(infos)
    return segments
