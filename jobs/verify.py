"""`maskmill verify`: is the label table what its ledger says?"""

import sys


def verify(out: str, /, *, deep: bool = False, json: bool = False) -> int:
    """Check every label file of a run: columns, footer, fingerprint, order of rows, counts against the ledger.

    Args:
        out: the --output of a `maskmill label`.
        deep: also decode every mask and compare its area and box with what the segment says.
        json: print JSON.
    """
    from pipeline import summary
    from pipeline.json_stream import chunks
    from pipeline.output import Output
    from pipeline.verify import verify as check

    result = check(Output.of(out), deep=deep)
    if json:
        found = [{"file": problem.file, "text": problem.text} for problem in result.problems]
        checked = {"files": result.files, "rows": result.rows, "masks": result.masks}
        whole = {"checked": checked, "problems": iter(found), "status": summary.to_json(result.status)}
        sys.stdout.writelines(chunks(whole))
        print()
    else:
        for problem in result.problems:
            print(f"problem   {problem.file}: {problem.text}")
        decoded = f", {result.masks:,} masks decoded" if deep else ""
        print(
            f"checked   {result.files:,} label files, {result.rows:,} rows{decoded}: {len(result.problems):,} problems"
        )
        print("\n".join(summary.lines(result.status)))
    return 1 if result.problems or not result.status.all_done else 0


if __name__ == "__main__":
    from jobs.cli import run

    raise SystemExit(run(["verify", *sys.argv[1:]]))
