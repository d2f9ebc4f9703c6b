"""`maskmill stats`: what a label table holds, on one page."""

import sys

from maskmill.pipeline.steps import Steps
from maskmill.pipeline.terminal import print_json, print_lines


def stats(out: str, /, *, json: bool = False) -> int:
    """What a label table holds: counts, failures by reason, classes, scores, segments an image, bytes; no mask is read.

    Args:
        out: the --output of a `maskmill label`, or a sealed table.
        json: print JSON, with every class.
    """
    Steps()("adding up the label table", logged=False)
    from json import dumps

    from maskmill.jobs.incomplete import say
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.stats import lines, to_json
    from maskmill.pipeline.stats import stats as add_up

    output = Output.of(out)
    found = add_up(output)
    say(found.status.incomplete(output))
    if json:
        print_json(dumps(to_json(found), indent=2, ensure_ascii=False))
    else:
        print_lines(*lines(found))
    return 0


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["stats", *sys.argv[1:]])
