"""`maskmill demo`: the main job on shards made on the spot, then what to look at."""

import sys
from pathlib import Path

from maskmill.jobs.places import check_folder
from maskmill.pipeline.terminal import print_lines

_MARK = ".maskmill-demo"
_SEED = 0
_QUERY = """
SELECT name, segments, round(mean_score, 3) AS mean_score, round(share, 3) AS share
FROM classes ORDER BY segments DESC, name LIMIT 5
""".strip()


def demo(*, output: Path = Path("demo-output"), shards: int = 2, samples: int = 64) -> int:
    """Label synthesized shards with the bundled model, then show a summary, a query, a picture and a page.

    Args:
        output: folder for shards, label table, picture and page; an earlier demo in it is replaced.
        shards: how many shards.
        samples: scenes in each shard.
    """
    import shutil

    from maskmill.jobs.label import label
    from maskmill.jobs.query import query
    from maskmill.jobs.report import report
    from maskmill.jobs.show import show
    from maskmill.models.errors import UsageError
    from maskmill.pipeline.config import ModelConfig
    from maskmill.pipeline.stores.local_file import writing
    from maskmill.pipeline.synthesis.shards import check_counts, synthesize

    check_folder("--output", str(output))
    check_counts(shards, samples, _SEED)
    mark = output / _MARK
    if output.exists() and any(output.iterdir()):
        if not mark.exists():
            raise UsageError(f"--output {str(output)!r}: holds files that no demo made. Give an empty or new folder.")
        shutil.rmtree(output)
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        mark.touch()

    print_lines(f"1. {shards} shards of {samples} scenes each -> {output / 'shards'}")
    synthesize(output / "shards", shards, samples, _SEED)
    print_lines(f"2. maskmill label {output / 'shards'} --output {output / 'run'} --model san-tiny")
    code = label(str(output / "shards"), output=str(output / "run"), model=ModelConfig(model="san-tiny"))
    print_lines(*f'3. maskmill query {output / "run"} "{_QUERY}"'.split("\n"))
    query(str(output / "run"), _QUERY)
    picture = output / "sample.png"
    key = _busiest(output / "run")
    print_lines(f"4. maskmill show {output / 'run'} {key} -o {picture}")
    show(str(output / "run"), key, output=picture)
    page = output / "report.html"
    print_lines(f"5. maskmill report {output / 'run'} -o {page}")
    report(str(output / "run"), output=page)
    print_lines(
        "", f"Look at {picture}; open {page} in a browser; ask more with `maskmill query {output / 'run'} SQL`."
    )
    return code


def _busiest(run: Path) -> str:
    """Key of a sample with the most segments: the one worth looking at."""
    from maskmill.pipeline.query import ask

    with ask(str(run), "SELECT key FROM labels ORDER BY len(segments) DESC NULLS LAST, key LIMIT 1") as answer:
        return str(next(answer.rows)[0])


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["demo", *sys.argv[1:]])
