"""Says on stderr that a run has shards without labels; a plain module, no command."""

from maskmill.pipeline.terminal import print_error


def say(line: str | None) -> None:
    """Print the line of an incomplete run, where there is one; what was asked for is printed all the same."""
    if line is not None:
        print_error(line)
