"""`maskmill status`: where a run stands."""

import sys

from maskmill.pipeline.steps import Steps
from maskmill.pipeline.terminal import print_lines, print_pieces


def status(out: str, /, *, json: bool = False) -> int:
    """Where a run stands: shards done, failed, missing; samples by reason; what has gone stale; speed and time left.

    It asks nobody but OUT, so it may run anywhere, also while a job is running. Exit code 1 unless every shard is done.

    Args:
        out: the --output of a `maskmill label`.
        json: print JSON.
    """
    Steps()("reading the ledger", logged=False)
    from maskmill.pipeline.json_stream import chunks
    from maskmill.pipeline.ledger import summary
    from maskmill.pipeline.ledger.speed import run_speed
    from maskmill.pipeline.ledger.status import status as read_status
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.run import require

    output = Output.of(out)
    recorded = require(output)
    now = read_status(output)
    speed = run_speed(now, output)
    if json:
        found = {
            "fingerprint": recorded["fingerprint"],
            **summary.to_json(now),
            "speed": summary.speed_to_json(speed),
        }
        print_pieces(chunks(found))
        print_lines("")
    else:
        print_lines(
            f"run       {recorded['fingerprint'][:16]}  {recorded['config']['model']['model']}, {recorded['created']}"
        )
        print_lines(*summary.lines(now), *summary.speed_lines(speed, now))
    return 0 if now.all_done else 1


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["status", *sys.argv[1:]])
