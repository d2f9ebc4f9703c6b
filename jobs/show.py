"""The command `maskmill show`: draws samples of a run. The drawing is done in `pipeline.showing`."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from maskmill.pipeline.table.filters import SegmentFilter

_EVERYTHING = SegmentFilter()


def show(
    out: str,
    /,
    *keys: str,
    output: Annotated[Path, Parameter(name=("--output", "-o"))],
    sample_index: int | None = None,
    shard: str | None = None,
    each: bool = False,
    limit: int | None = None,
    shards_at: list[str] | None = None,
    keep: Annotated[SegmentFilter, Parameter(name="*")] = _EVERYTHING,
) -> int:
    """Draw samples: image, masks with names and scores, and beside them the ground truth where the shard has one.

    Samples are named by their keys; without keys the first ones of the table are drawn that have a segment which passes
    the filter. Several samples come side by side on one sheet, or with --each in a file each.

    Args:
        out: The run: what `label` was given as --output.
        keys: Keys of samples: the name that a sample's members share in the shard.
        output: The picture, PNG; with --each the folder of the pictures.
        sample_index: Position in the shard, where several samples have the key.
        shard: URL of the shard, where several shards have the key.
        each: One picture a sample, named after its key.
        limit: Most samples. Default: 6 where no keys are given.
        shards_at: OLD=NEW: shards that were labeled below OLD, a folder or URL, lie below NEW now.
        keep: Which segments are drawn; without bounds all are.

    Returns:
        Exit code 0.
    """
    from maskmill.jobs.incomplete import say
    from maskmill.pipeline.ledger.summary import counted
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.shards.moved import ShardsAt
    from maskmill.pipeline.showing.show import places, show_all, show_each
    from maskmill.pipeline.stores.urls import canonical
    from maskmill.pipeline.table.label_table import LabelTable

    run = Output.of(out)
    moved = ShardsAt.parse(shards_at or ())
    if shard is not None and moved.moves:
        shard = moved.recorded(canonical(shard))
    chosen, bound = places(run, keys, keep, limit=limit, sample_index=sample_index, shard=shard)
    shown = (show_each if each else show_all)(run, chosen, output, bound, moved)
    for one in shown:
        found = one.found
        said = f"failed sample ({found.error})" if found.error is not None else counted(len(found.segments), "segment")
        truth = ", ground truth beside them" if found.truth is not None else ""
        name = f"{found.key[:80]!r}, " if len(chosen) > 1 else ""
        print(f"{one.png}: {name}{said}{truth}")
        for note in found.notes:
            print(note)
    say(LabelTable(run).incomplete)
    return 0


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["show", *sys.argv[1:]])
