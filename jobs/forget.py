"""`maskmill forget`: takes shards out of a run. Which those are and how they go is `pipeline.forgetting`'s."""

import sys

from maskmill.models.errors import UsageError
from maskmill.pipeline.terminal import print_lines

_LISTED = 20
"""Shards that are named before the rest is only counted."""


def forget(out: str, /, *shards: str, labels: bool = False, dry_run: bool = False) -> int:
    """Take shards out of a run, such as mistyped paths: they count as failed or missing no more. No source is touched.

    A shard that has labels is refused, unless --labels says that they go too. A later `label` of a shard adds it again,
    and one that is at work may go on meanwhile.

    Args:
        out: the --output of a `maskmill label`.
        shards: as `status` names them or as they were given to `label`: paths, URLs, brace ranges, @list.txt; patterns
            ('s3://typo/*') are held against the run's shards.
        labels: remove the label files of these shards too.
        dry_run: say which shards would go, and do nothing.

    Returns:
        Exit code 0.
    """
    from maskmill.pipeline import forgetting
    from maskmill.pipeline.ledger import summary
    from maskmill.pipeline.ledger.status import status
    from maskmill.pipeline.ledger.summary import counted
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.stores.urls import redact

    if not shards:
        raise UsageError("SHARDS: none given. Name those to forget, as `maskmill status OUT` does.")
    output = Output.of(out)
    chosen = forgetting.choose(output, shards, labels=labels)
    if not dry_run:
        forgetting.forget(output, chosen)
    files = f", with {counted(len(chosen.labeled), 'label file')}" if chosen.labeled else ""
    said = "would forget" if dry_run else "forgot"
    print_lines(f"{said} {counted(len(chosen.shards), 'shard')} of {redact(output.url)}{files}")
    for shard in chosen.shards[:_LISTED]:
        print_lines(f"  {shard.url}")
    if len(chosen.shards) > _LISTED:
        print_lines(f"  and {len(chosen.shards) - _LISTED:,} more")
    if not dry_run:
        print_lines(*summary.lines(status(output)))
    return 0


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["forget", *sys.argv[1:]])
