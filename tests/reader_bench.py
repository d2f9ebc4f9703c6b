"""`python -m tests.reader_bench`: images/s of the training reader beside plain webdataset over the same shards.

All decode every image in this process, one after the other. The reader also reads and decodes all masks; a third pass
is webdataset with as many masks decoded by pycocotools, their bytes held in memory. Rounds take turns, and ratios are
those of one round, so that whoever else uses the machine slows all three.
"""

import argparse
import io
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import webdataset
from PIL import Image
from pycocotools import mask as coco

from maskmill.pipeline.dataset import LabeledImages
from maskmill.pipeline.output import Output
from maskmill.pipeline.synthesis.shards import synthesize
from tests.plain_run import label
from tests.untrained_tiny import untrained_tiny


def enlarged(source: Path, to: Path, side: int) -> Path:
    """The shard with its images scaled to `side` pixels."""
    with tarfile.open(source) as read, tarfile.open(to, "w") as written:
        for member in read.getmembers():
            body = read.extractfile(member)
            assert body is not None
            data = body.read()
            if member.name.endswith(".jpg"):
                file = io.BytesIO()
                Image.open(io.BytesIO(data)).resize((side, side)).save(file, "JPEG", quality=90)
                data = file.getvalue()
            info = tarfile.TarInfo(member.name)
            info.size = len(data)
            written.addfile(info, io.BytesIO(data))
    return to


def seconds(run: Callable[[], int], expected: int) -> float:
    """Time of a whole pass."""
    started = time.perf_counter()
    assert run() == expected
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--side", type=int, default=640, help="pixels of the square images")
    parser.add_argument("--times", type=int, default=9, help="rounds")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = synthesize(Path(folder) / "scenes", asked.shards, asked.samples, 1)
        shards = [enlarged(path, Path(folder) / path.name, asked.side) for path in made]
        output = Output.of(f"{folder}/out")
        now = label(untrained_tiny(), shards, output)
        urls = [str(path) for path in shards]
        files = [pq.read_table(path).to_pylist() for path in sorted(Path(output.labels).glob("*.parquet"))]
        rows = {(row["shard"], row["key"]): row for file in files for row in file}

        def plain() -> int:
            data = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode("rgb8").to_tuple("jpg")
            return sum(1 for _ in data)

        def plain_with_masks() -> int:
            data = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode("rgb8")
            seen = 0
            for sample in data:
                row = rows[sample["__url__"], sample["__key__"]]
                size = [row["mask_height"], row["mask_width"]]
                coco.decode([{"size": size, "counts": mask} for mask in row["masks"]])
                seen += 1
            return seen

        def labeled() -> int:
            return sum(1 for _ in LabeledImages(output.url))

        images = asked.shards * asked.samples
        passes = {
            "webdataset, images only": plain,
            "webdataset + pycocotools": plain_with_masks,
            "LabeledImages, with masks": labeled,
        }
        for run in passes.values():
            run()
        rounds = [[seconds(run, images) for run in passes.values()] for _ in range(asked.times)]
        print(f"{images} images of {asked.side} x {asked.side}, {now.segments / images:.1f} masks each, one process")
        for place, name in enumerate(passes):
            rate = images / statistics.median(taken[place] for taken in rounds)
            print(f"{name:26} {rate:8.1f} images/s")
        for place, name in enumerate(list(passes)[:2]):
            ratio = statistics.median(taken[place] / taken[2] for taken in rounds)
            print(f"LabeledImages / {name:26} {ratio:.2f}")


if __name__ == "__main__":
    main()
