"""`maskmill bench`: how fast each part is here. Measuring is done in `pipeline.bench`."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from maskmill.jobs.places import check_file
from maskmill.models.errors import UsageError
from maskmill.pipeline.bench.config import BenchConfig
from maskmill.pipeline.steps import Steps
from maskmill.pipeline.terminal import print_json, print_lines


def bench(
    *shards: str,
    config: Annotated[BenchConfig, Parameter(name="*")] = BenchConfig(),
    compare: tuple[str, str] | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    json: bool = False,
) -> int:
    """Measure this machine, the model, each of its parts, and whole shards; nothing is judged.

    First the floor: a large matrix product and a large copy. Then the model, its parts, what stands around it in a
    replica, whole shards, and a replica whose model is a constant. Each is the median of several runs after a warm-up,
    with the distance between the quartiles as its spread.

    Args:
        shards: shards to measure over, as for `label`. Default: made-up JPEGs.
        config: what is measured.
        compare: two files that -o wrote: print them beside one another, and measure nothing.
        output: also write the JSON to this file.
        json: print the JSON instead of the table.
    """
    from maskmill.models.zoo import spec_of
    from maskmill.pipeline.labeling.threads import wait_briefly_awake

    wait_briefly_awake()  # as in a replica
    from maskmill.pipeline.stores.leftovers import remove_leftovers
    from maskmill.pipeline.stores.local_file import replacing

    if output is not None:
        check_file("--output", str(output), (".json",))
        if not output.absolute().parent.is_dir():
            raise UsageError(f"--output {str(output)!r}: its folder isn't there. Make it first.")
        remove_leftovers(str(output.absolute().parent))
    spec_of(config.model)
    with Steps() as steps:
        steps("checking shards", logged=False)
        from maskmill.pipeline.bench.results import Bench
        from maskmill.pipeline.bench.table import compared, lines

        if compare is not None:
            first, second = (Bench.read(path, "--compare") for path in compare)
            print_lines(*compared(first, second, compare))
            return 0
        from maskmill.pipeline.bench.run import bench as measure
        from maskmill.pipeline.shards.listing import expand

        sources = expand(shards) if shards else []
        found = measure(config, sources, lambda what: steps(f"measuring: {what}"))
    if output is not None:
        with replacing(output) as waiting:
            waiting.write_text(found.to_json(), encoding="utf-8")
    if json:
        print_json(found.to_json())
    else:
        print_lines(*lines(found))
    return 0


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["bench", *sys.argv[1:]])
