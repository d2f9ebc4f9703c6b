"""`maskmill demo`: what a newcomer types first, and types again."""

import pytest

from tests.jobs.conftest import Workplace


@pytest.mark.slow
def test_the_demo_ends_with_a_picture_and_can_be_run_again(workplace: Workplace) -> None:
    for _ in range(2):
        ended = workplace.run("demo", "--samples", "8")
        assert ended.code == 0, ended.err
        assert "16 read = 16 labeled + 0 failed" in ended.out
        assert "mean_score" in ended.out
        assert (workplace.cwd / "demo-output" / "sample.png").read_bytes().startswith(b"\x89PNG")
        assert (workplace.cwd / "demo-output" / "report.html").read_bytes().startswith(b"<!doctype html>")


def test_the_demo_takes_no_folder_that_holds_something_else(workplace: Workplace) -> None:
    (workplace.cwd / "mine").mkdir()
    (workplace.cwd / "mine" / "thesis.txt").write_text("years of work")
    refused = workplace.run("demo", "--output", "mine")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert (workplace.cwd / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_demo_of_nothing_leaves_an_earlier_one_and_makes_no_folder(workplace: Workplace) -> None:
    (workplace.cwd / "earlier").mkdir()
    (workplace.cwd / "earlier" / ".maskmill-demo").touch()
    for words in (("--shards", "0"), ("--samples", "0", "--output", "earlier")):
        refused = workplace.run("demo", *words)
        assert (refused.code, f"{words[0]} 0: expected" in refused.err, refused.out) == (2, True, "")
    assert not (workplace.cwd / "demo-output").exists()
    assert (workplace.cwd / "earlier" / ".maskmill-demo").exists()
