"""The command `maskmill synthesize`: writes something to label. Scenes are made in `pipeline.synthesis`."""

import sys
from pathlib import Path

from maskmill.jobs.places import check_folder
from maskmill.pipeline.steps import Steps
from maskmill.pipeline.terminal import print_lines


def synthesize(directory: Path, /, *, shards: int = 2, samples: int = 100, seed: int = 0) -> int:
    """Write webdataset shards of procedural scenes: images, captions and exact class maps.

    Args:
        directory: Where the shards go; made where it is missing. Shards of the same names are replaced.
        shards: How many shards.
        samples: Scenes in each shard.
        seed: Equal seeds give files of equal bytes.

    Returns:
        Exit code 0.
    """
    Steps()("making shards", logged=False)
    import time

    from maskmill.pipeline.synthesis.shards import synthesize as write

    check_folder("DIRECTORY", str(directory))
    started = time.perf_counter()
    paths = write(directory, shards, samples, seed)
    seconds = time.perf_counter() - started
    scenes, size = shards * samples, sum(path.stat().st_size for path in paths)
    print_lines(
        f"{len(paths)} shards, {scenes} scenes, {size / 1e6:.1f} MB in {directory} ({scenes / seconds:,.0f} scenes/s)"
    )
    print_lines(f"first {paths[0]}", f"last  {paths[-1]}")
    return 0


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["synthesize", *sys.argv[1:]])
