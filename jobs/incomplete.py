"""Says on stderr that a run has shards without labels; a plain module, no command."""

import sys


def say(line: str | None) -> None:
    """Print the line of an incomplete run, where there is one; what was asked for is printed all the same."""
    if line is not None:
        print(line, file=sys.stderr, flush=True)
