"""The command `maskmill show`: draws one sample of a run. The drawing is done in `pipeline.showing`."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def show(
    out: str,
    key: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"))],
    sample_index: int | None = None,
    shard: str | None = None,
) -> int:
    """Draw one sample: image, masks with names and scores, and beside them the ground truth where the shard has one.

    Args:
        out: The run: what `label` was given as --output.
        key: The sample's key: the name its members share in the shard.
        output: The picture, PNG.
        sample_index: Position in the shard, where several samples have the key.
        shard: URL of the shard, where several shards have the key.

    Returns:
        Exit code 0.
    """
    from pipeline.showing.show import show as draw

    found = draw(out, key, output, sample_index=sample_index, shard=shard)
    said = f"failed sample ({found.error})" if found.error is not None else f"{len(found.segments)} segments"
    truth = ", ground truth beside them" if found.truth is not None else ""
    print(f"{output}: {said}{truth}")
    for note in found.notes:
        print(note)
    return 0


if __name__ == "__main__":
    from jobs.cli import run

    raise SystemExit(run(["show", *sys.argv[1:]]))
