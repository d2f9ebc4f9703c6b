"""`python -m tests.export_bench`: images/s and peak memory of each format, over tables of two sizes.

The tables are those of tests/table_scale.py: images of 640 pixels, 3 segments in each, masks from a pool. Every
export is a process of its own, so that its peak memory is its own.
"""

import argparse
import multiprocessing
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

FORMATS = ("coco", "coco-panoptic", "png", "hf")


def exported(table: str, form: str, folder: str, workers: int) -> tuple[int, float, int]:
    """Images, seconds and peak memory in MB of one export; of its main process where there are several."""
    from maskmill.pipeline.export.destination import Destination
    from maskmill.pipeline.export.export import Export, export
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.table.filters import SegmentFilter

    started = time.perf_counter()
    tally = export(
        Export(
            output=Output.of(table),
            destination=Destination.of(f"{folder}/dest"),
            format=form,  # type: ignore[arg-type]  # one of FORMATS
            keep=SegmentFilter(),
            images=False,
            skip_empty=False,
        ),
        scratch=Path(folder),
        workers=workers,
    )
    seconds = time.perf_counter() - started
    # ru_maxrss begins with what the parent had.
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return tally.images, seconds, int(peak.split()[1]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--file", type=int, default=1_000, help="samples of a label file")
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    asked = parser.parse_args()
    from tests.table_scale import make

    print(f"{'format':14} {'samples':>9} {'workers':>7} {'images/s':>9} {'peak MB':>8} {'DEST MB':>8}")
    with tempfile.TemporaryDirectory(prefix="maskmill-") as folder:
        for samples in asked.samples:
            make(Path(folder, str(samples)), max(1, samples // asked.file), samples, 2)
        for form in asked.formats:
            for workers in asked.workers:
                for samples in asked.samples:
                    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
                        table = f"{folder}/{samples}"
                        images, seconds, peak = alone.submit(exported, table, form, folder, workers).result()
                    dest = Path(folder, "dest")
                    size = sum(path.stat().st_size for path in dest.rglob("*") if path.is_file())
                    shutil.rmtree(dest)
                    print(
                        f"{form:14} {samples:9,} {workers:7} {images / seconds:9.0f} {peak:8} {size / 1e6:8.1f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
