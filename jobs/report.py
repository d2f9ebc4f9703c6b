"""`maskmill report`: a run on one page. The page is made in `pipeline.report`."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from maskmill.jobs.places import check_file, scratch_of
from maskmill.pipeline.report.config import ReportConfig
from maskmill.pipeline.steps import Steps
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.terminal import print_lines

_Flat = Parameter(name="*")
_EVERYTHING = SegmentFilter()
_USUAL = ReportConfig()

_NOTES = 3
"""Shards that can't be read which are named before the rest is only counted."""


def report(
    out: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"))],
    config: Annotated[ReportConfig, _Flat] = _USUAL,
    keep: Annotated[SegmentFilter, _Flat] = _EVERYTHING,
) -> int:
    """Make one page of a run, for a browser: images with their masks, charts, classes, ledger, identity.

    The page is one file below 10 MB that asks the network for nothing. The ledger and the class counts are exact;
    everything else is drawn with a seed: at most 20,000 samples of 64 shards, whatever the size of the run.

    Args:
        out: The run: what `label` was given as --output.
        output: The page, HTML; an existing file is replaced.
        config: how much is shown.
        keep: which segments count; without bounds all do.

    Returns:
        Exit code 0.
    """
    Steps()("making the page", logged=False)
    from maskmill.jobs.incomplete import say
    from maskmill.pipeline.report.report import report as make
    from maskmill.pipeline.showing.write import write
    from maskmill.pipeline.stores.leftovers import remove_leftovers

    check_file("--output", str(output), (".html", ".htm"))
    scratch_of(config.scratch)
    made = make(out, keep, config)
    remove_leftovers(str(output.parent))
    write(output, made.html)
    say(made.incomplete)
    print_lines(f"{output}: {len(made.html) / 1e6:,.1f} MB, nothing of it from the network")
    print_lines(
        f"charts    {made.drawn:,} of {made.samples:,} samples, from {made.shards:,} shards, seed {config.seed}"
    )
    print_lines(f"images    {made.shown:,}, chosen from {made.chosen_from:,}")
    for note in made.notes[:_NOTES]:
        print_lines(f"note      {note}")
    if len(made.notes) > _NOTES:
        print_lines(f"note      and {len(made.notes) - _NOTES} more like these; the page names them")
    return 0


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["report", *sys.argv[1:]])
