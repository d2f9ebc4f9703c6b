"""`python -m tests.reader_bench`: images/s of the training reader beside plain webdataset over the same shards.

Both decode every image in this process, one after the other; the reader also reads and decodes all masks.
"""

import argparse
import io
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import webdataset
from PIL import Image

from pipeline.dataset import LabeledImages
from pipeline.output import Output
from pipeline.synthesis.shards import synthesize
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


def seconds(run: Callable[[], int], times: int, expected: int) -> float:
    """Median time of a whole pass."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        assert run() == expected
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--side", type=int, default=640, help="pixels of the square images")
    parser.add_argument("--times", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = synthesize(Path(folder) / "scenes", asked.shards, asked.samples, 1)
        shards = [enlarged(path, Path(folder) / path.name, asked.side) for path in made]
        output = Output.of(f"{folder}/out")
        now = label(untrained_tiny(), shards, output)
        urls = [str(path) for path in shards]

        def plain() -> int:
            data = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode("rgb8").to_tuple("jpg")
            return sum(1 for _ in data)

        def labeled() -> int:
            return sum(1 for _ in LabeledImages(output.url))

        images = asked.shards * asked.samples
        plain(), labeled()
        ours, theirs = (seconds(run, asked.times, images) for run in (labeled, plain))
        print(f"{images} images of {asked.side} x {asked.side}, {now.segments / images:.1f} masks each, one process")
        print(f"webdataset, images only       {images / theirs:8.1f} images/s")
        print(f"LabeledImages, with masks     {images / ours:8.1f} images/s, {theirs / ours:.2f} of it")


if __name__ == "__main__":
    main()
