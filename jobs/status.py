"""`maskmill status`: where a run stands."""

import sys
from json import dumps


def status(out: str, /, *, json: bool = False) -> int:
    """Where a run stands: shards done, failed, missing; samples by reason; what has gone stale.

    Args:
        out: the --output of a `maskmill label`.
        json: print JSON.
    """
    from pipeline import summary
    from pipeline.output import Output
    from pipeline.run import require
    from pipeline.status import status as read_status

    output = Output.of(out)
    recorded = require(output)
    now = read_status(output)
    if json:
        print(dumps({"fingerprint": recorded["fingerprint"], **summary.to_json(now)}, indent=2))
    else:
        print(
            f"run       {recorded['fingerprint'][:16]}  {recorded['config']['model']['model']}, {recorded['created']}"
        )
        print("\n".join(summary.lines(now)))
    return 0 if now.all_done else 1


if __name__ == "__main__":
    from jobs.cli import run

    raise SystemExit(run(["status", *sys.argv[1:]]))
