"""`maskmill bench` on a machine with a GPU and PyTorch, and without what only jobs on a cluster need."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LACKING = ("ray", "duckdb", "s3fs", "awscrt", "aiobotocore", "scipy", "tensorboard", "pydantic", "datasets")
"""Of what the project requires; imports of it fail."""

PROGRAM = """
import runpy, sys

class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {lacking!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Lacking())
sys.argv = ["bench", *{arguments!r}]
runpy.run_module("maskmill.jobs.bench", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("lacking", [LACKING])
def test_bench_runs_as_a_module_where_nothing_is_installed_but_what_labels(tmp_path: Path, lacking) -> None:
    arguments = (
        "--model san-tiny --weights random --device cpu --threads 1 --size 64 --batch-size 2 --samples 2 --image 96x64 "
        f"--repeats 3 --parts model --parts shard --scratch {tmp_path}"
    ).split()
    program = PROGRAM.format(lacking=lacking, arguments=arguments)
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert [line.split("  ")[0] for line in ended.stdout.splitlines() if line.startswith(("model", "shard"))] == [
        "model", "model + segments", "model at shard's size", "shard",
    ]  # fmt: skip
