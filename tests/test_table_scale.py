"""The script that measures questions over a large table runs, and both programs agree; a tiny scale."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from maskmill.pipeline.output import Output
from maskmill.pipeline.verify import verify
from tests.table_scale import make


@pytest.mark.slow
def test_the_script_runs_and_removes_its_table(tmp_path):
    folder = tmp_path / "table"
    command = [sys.executable, "-m", "tests.table_scale", "--files", "80", "--samples", "8000", "--processes", "2",
               "--folder", str(folder), "--json"]  # fmt: skip
    ended = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    figures = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(figures) == 5
    assert all(figure["ratio"] > 0 and figure["peak_bytes"] > 0 for figure in figures)
    assert not folder.exists()


def test_a_made_table_is_a_sound_one(tmp_path):
    make(tmp_path / "out", 3, 60, masks=3)
    found = verify(Output.of(str(tmp_path / "out")), deep=True)
    assert not list(found.problems)
    assert found.rows == 60
