"""`maskmill compact`: a sealed copy of a label table in few files. The copying is done in `pipeline.compaction`."""

import sys
from pathlib import Path

from maskmill.jobs.byte_size import byte_size
from maskmill.jobs.places import check_folder, scratch_of
from maskmill.pipeline.steps import Steps
from maskmill.pipeline.terminal import print_error, print_lines


def compact(
    out: str, dest: str, /, *, file_size: str = "1GB", partial: bool = False, scratch: Path | None = None
) -> int:
    """Write a label table anew as a sealed one: the same rows in the same order, in files of a stated size.

    OUT isn't changed. A file is compared with what it was made from before it is published. A compaction that was
    interrupted is no table yet; the same command finishes it.

    Args:
        out: the --output of a `maskmill label`.
        dest: an empty place for the sealed table, not in OUT; a folder or any fsspec URL.
        file_size: size of the label files, such as 256MB or 1GB. A shard is never split. On S3 a file that is sent is
            held in memory.
        partial: leave out failed and missing shards instead of refusing; the ledger still names them.
        scratch: local folder with room for one such file. Default: the system's.

    Returns:
        Exit code 0.
    """
    Steps()("copying label files", logged=False)
    from maskmill.pipeline.compaction.compaction import compact as seal
    from maskmill.pipeline.ledger.summary import counted
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.stores.urls import redact

    size = byte_size("--file-size", file_size)
    check_folder("DEST", dest)
    folder = scratch_of(scratch)
    target = Output.of(dest)
    found = seal(
        Output.of(out),
        target,
        scratch=folder,
        file_bytes=size,
        partial=partial,
        told=print_error,
    )
    kept = f", {found.kept:,} of them from before" if found.kept else ""
    left_out = f"; {found.left_out:,} failed or missing left out" if found.left_out else ""
    print_lines(f"shards    {found.shards:,} done{left_out}")
    print_lines(
        f"sealed    {counted(found.rows, 'row')} in {counted(found.files, 'file')}{kept}, {found.bytes / 1e6:,.1f} MB"
    )
    print_lines("verified  every row, in order, against the label files it was copied from")
    print_lines(f"table     {redact(target.url)}")
    return 0


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["compact", *sys.argv[1:]])
