"""Answers that their place can't take: one line, exit code 3, and no half of one under its name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.full_disk import on_a_full_disk


@pytest.mark.parametrize(
    "ending", ["csv", "parquet", *(pytest.param(end, marks=pytest.mark.slow) for end in ("json", "txt"))]
)
def test_an_answer_on_a_full_disk_is_one_line_and_no_file(made, tmp_path, ending):
    answer = tmp_path / f"answer.{ending}"
    sql = "SELECT a, hash(a) AS b, hash(a + 1) AS c FROM range(20000) r(a)"
    ended = on_a_full_disk(6_000, "query", made, sql, "-o", answer, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"maskmill: {tmp_path}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["query", "OUT", "SELECT 1"], ["status", "OUT", "--json"], ["label", "--help"]])
def test_a_full_device_under_standard_output_is_one_line(made, words):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    arguments = [str(made) if word == "OUT" else word for word in words[1:]]
    with Path("/dev/full").open("w") as full_device:
        ended = subprocess.run(
            [sys.executable, "-m", f"maskmill.jobs.{words[0]}", *arguments],
            stdout=full_device, stderr=subprocess.PIPE, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert ended.returncode == 3
    assert ended.stderr.startswith("maskmill: standard output: can't be written (No space left on device). ")
    assert len(ended.stderr.splitlines()) == 1
