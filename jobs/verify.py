"""`maskmill verify`: is the label table what its ledger says?"""

import sys


def verify(out: str, /, *, deep: bool = False, json: bool = False) -> int:
    """Check every label file: that it was asked for, its columns, footer, fingerprint, order of rows, counts.

    Exit code 1 if something is wrong or not every shard is done.

    Args:
        out: the --output of a `maskmill label`, or a sealed table that `maskmill compact` made.
        deep: also read every column, decode every mask, and compare its area and box with what the segment says.
        json: print JSON.
    """
    from maskmill.pipeline.json_stream import chunks
    from maskmill.pipeline.ledger import summary
    from maskmill.pipeline.ledger.summary import counted
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.verify import verify as check

    result = check(Output.of(out), deep=deep, told=lambda line: print(line, file=sys.stderr, flush=True))
    if json:
        found = [{"file": problem.file, "text": problem.text} for problem in result.problems]
        checked = {"files": result.files, "rows": result.rows, "masks": result.masks}
        whole = {
            "checked": checked,
            "problems": iter(found),
            "strays": iter(result.strays),
            "status": summary.to_json(result.status),
        }
        sys.stdout.writelines(chunks(whole))
        print()
    else:
        for problem in result.problems:
            print(f"problem   {problem.file}: {problem.text}")
        for stray in result.strays:
            print(f"note      {stray}: not a file of this run; nothing reads it")
        decoded = f", {result.masks:,} masks decoded" if deep else ""
        files, problems = counted(result.files, "label file"), counted(len(result.problems), "problem")
        print(f"checked   {files}, {counted(result.rows, 'row')}{decoded}: {problems}")
        print("\n".join(summary.lines(result.status)))
    return 1 if result.problems or not result.status.all_done else 0


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["verify", *sys.argv[1:]])
