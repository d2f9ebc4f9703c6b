"""`maskmill verify`: is the label table what its ledger says?"""

import sys

from maskmill.pipeline.steps import Steps
from maskmill.pipeline.terminal import print_error, print_lines, print_pieces


def verify(out: str, /, *, deep: bool = False, json: bool = False) -> int:
    """Check every label file: that it was asked for, its size, columns, footer, fingerprint, order of rows, counts.

    Without --deep a label file's bytes aren't all read: damage that leaves its size, counts and order isn't found.
    Exit code 1 if something is wrong or not every shard is done.

    Args:
        out: the --output of a `maskmill label`, or a sealed table that `maskmill compact` made.
        deep: also read every byte, compare its checksum with that of what was published, decode every mask, and compare
            its area and box with what the segment says. A file whose checksum the ledger doesn't have (older runs, a
            ledger made anew) has Parquet's statistics, names and page index computed again from its rows instead. From
            a store each file is fetched into TMPDIR once.
        json: print JSON.
    """
    Steps()("checking label files", logged=False)
    from maskmill.pipeline.json_stream import chunks
    from maskmill.pipeline.ledger import summary
    from maskmill.pipeline.ledger.summary import counted
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.verify import verify as check

    result = check(Output.of(out), deep=deep, told=print_error)
    if json:
        found = [{"file": problem.file, "text": problem.text} for problem in result.problems]
        checked = {
            "files": result.files,
            "rows": result.rows,
            "masks": result.masks,
            "without_checksum": result.unrecorded,
        }
        whole = {
            "checked": checked,
            "problems": iter(found),
            "strays": iter(result.strays),
            "status": summary.to_json(result.status),
        }
        print_pieces(chunks(whole))
        print_lines("")
    else:
        for problem in result.problems:
            print_lines(f"problem   {problem.file}: {problem.text}")
        for stray in result.strays:
            print_lines(f"note      {stray}: not a file of this run; nothing reads it")
        decoded = f", {result.masks:,} masks decoded" if deep else ""
        unread = "" if deep else "; not all bytes were read, --deep does"
        files, problems = counted(result.files, "label file"), counted(len(result.problems), "problem")
        print_lines(f"checked   {files}, {counted(result.rows, 'row')}{decoded}: {problems}{unread}")
        if result.unrecorded:
            print_lines(
                f"checksums {counted(result.unrecorded, 'label file')} without one in the ledger; "
                "statistics were computed again"
            )
        print_lines(*summary.lines(result.status))
    return 1 if result.problems or not result.status.all_done else 0


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["verify", *sys.argv[1:]])
