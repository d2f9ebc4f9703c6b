"""`maskmill compact`: a sealed copy of a label table in few files. The copying is done in `pipeline.compaction`."""

import re
import sys
from pathlib import Path

from maskmill.jobs.places import check_folder
from maskmill.models.errors import UsageError

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


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
    import tempfile

    from maskmill.pipeline.compaction.compaction import compact as seal
    from maskmill.pipeline.ledger.summary import counted
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.stores.urls import redact

    size = _bytes(file_size)
    check_folder("DEST", dest)
    folder = scratch or Path(tempfile.gettempdir())
    if not folder.is_dir():
        raise UsageError(f"--scratch {folder}: no such folder. Make it, or name another.")
    target = Output.of(dest)
    found = seal(
        Output.of(out),
        target,
        scratch=folder,
        file_bytes=size,
        partial=partial,
        told=lambda line: print(line, file=sys.stderr, flush=True),
    )
    kept = f", {found.kept:,} of them from before" if found.kept else ""
    left_out = f"; {found.left_out:,} failed or missing left out" if found.left_out else ""
    print(f"shards    {found.shards:,} done{left_out}")
    print(
        f"sealed    {counted(found.rows, 'row')} in {counted(found.files, 'file')}{kept}, {found.bytes / 1e6:,.1f} MB"
    )
    print("verified  every row, in order, against the label files it was copied from")
    print(f"table     {redact(target.url)}")
    return 0


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d{1,15})\s*([KMGT]B|)", text.strip().upper(), re.ASCII)
    size = 0 if found is None else int(found[1]) * _UNITS[found[2]]
    if size < 1:
        raise UsageError(f"--file-size {text[:40]!r}: expected a number of bytes, such as 256MB or 1GB.")
    return size


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["compact", *sys.argv[1:]])
