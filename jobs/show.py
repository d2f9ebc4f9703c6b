"""The command `maskmill show`: draws samples of a run. The drawing is done in `pipeline.showing`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from maskmill.jobs.places import check_file, check_folder
from maskmill.pipeline.steps import Steps
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.terminal import print_error, print_lines

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
    truth_ids: Literal["vocabulary", "coco-stuff"] = "vocabulary",
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
        truth_ids: What the numbers in seg.png are: ids of the run's vocabulary, or COCO-Stuff's own, as released.
        keep: Which segments are drawn; without bounds all are.

    Returns:
        Exit code 0.
    """
    Steps()("drawing samples", logged=False)
    from maskmill.jobs.incomplete import say
    from maskmill.pipeline.ledger.status import status
    from maskmill.pipeline.ledger.summary import counted
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.shards.moved import ShardsAt
    from maskmill.pipeline.showing.show import places, show_all, show_each
    from maskmill.pipeline.stores.leftovers import remove_leftovers
    from maskmill.pipeline.stores.urls import canonical
    from maskmill.pipeline.table.label_table import LabelTable

    if each:
        check_folder("--output", str(output))
    else:
        check_file("--output", str(output), (".png",))
    run = Output.of(out)
    moved = ShardsAt.parse(shards_at or ())
    if moved.moves:
        moved.refuse_unused(status(run).urls("done"))
        shard = None if shard is None else moved.recorded(canonical(shard))
    chosen, bound = places(run, keys, keep, limit=limit, sample_index=sample_index, shard=shard)
    remove_leftovers(str(output if each else output.parent))
    warnings: tuple[str, ...] = ()
    draw = show_each if each else show_all
    for one in draw(run, chosen, output, bound, moved, truth_ids=truth_ids):
        warnings = one.warnings
        found = one.found
        said = f"failed sample ({found.error})" if found.error is not None else counted(len(found.segments), "segment")
        truth = ", ground truth beside them" if found.truth is not None else ""
        name = f"{found.key[:80]!r}, " if len(chosen) > 1 else ""
        print_lines(f"{one.png}: {name}{said}{truth}")
        for note in found.notes:
            print_lines(f"{one.png}: {name}{note}")
    for warning in warnings:
        print_error(f"maskmill: {warning}")
    say(LabelTable(run).incomplete)
    return 0


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["show", *sys.argv[1:]])
