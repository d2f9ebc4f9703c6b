"""`maskmill plan`: what a large job takes. Reckoning is done in `pipeline.capacity.plan`."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from maskmill.pipeline.capacity.inputs import PlanConfig
from maskmill.pipeline.terminal import print_json, print_lines


def plan(
    *,
    images: int,
    gpus: int,
    bench: Path | None = None,
    config: Annotated[PlanConfig, Parameter(name="*")] = PlanConfig(),
    json: bool = False,
) -> int:
    """Reckon a large job: GPU-hours, days, bytes, requests to the store, cost, and what holds it up.

    Each number it is reckoned from is printed, with whether it was given, measured or assumed.

    Args:
        images: images to label.
        gpus: GPUs that label.
        bench: the JSON that `maskmill bench -o` wrote on such a GPU.
        config: what the bench doesn't tell; each goes before what it does.
        json: print JSON.
    """
    from json import dumps

    from maskmill.pipeline.bench.results import Bench
    from maskmill.pipeline.capacity.plan import lines
    from maskmill.pipeline.capacity.plan import plan as reckon

    found = reckon(images, gpus, config, None if bench is None else Bench.read(bench, "--bench"))
    if json:
        print_json(dumps(found.to_json(), indent=2))
    else:
        print_lines(*lines(found))
    return 0


if __name__ == "__main__":
    from maskmill.jobs.cli import run

    raise SystemExit(run(["plan", *sys.argv[1:]]))
