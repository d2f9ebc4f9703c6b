"""`ray job submit` as the README prints it: to a cluster that asks for a token, with a driver that is killed."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from maskmill.pipeline.synthesis.shards import synthesize
from tests.ray_nodes import LOOPBACK, RayNodes, free_ports, ray_nodes

ROOT = Path(__file__).parents[2]

RAY = Path(sys.executable).with_name("ray")
"""The command, as it is installed."""

MASKMILL = RAY.with_name("maskmill")
"""The command, as it is installed."""

SHARDS = 12

PATIENCE = 600.0
"""Seconds after which a job that should have ended is a failed test."""


@dataclass(frozen=True, kw_only=True)
class Submitting:
    """A cluster that wants a token, and a user who has it."""

    nodes: RayNodes
    """The cluster: a head that takes no work, and one node."""

    python: Path
    """What the cluster runs on; maskmill isn't installed there."""

    shards: Path
    """What to label."""

    folder: Path
    """Where outputs go; every driver's command line holds it."""

    environment: dict[str, str]
    """The user's: where the cluster takes jobs, and a home with the token."""

    def line(self, output: Path, *options: str) -> list[str]:
        """The README's line, from the project's folder."""
        label = ["python", "-m", "jobs.label", str(self.shards), "--output", str(output), "--model", "san-tiny"]
        return [str(RAY), "job", "submit", "--working-dir", ".", *options, "--", *label]

    def run(self, command: Sequence[str], **changed: str) -> "subprocess.CompletedProcess[str]":
        """A command of the user, to its end; `changed` is what is otherwise in the environment."""
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment | changed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def drivers(self, output: Path) -> list[int]:
        """Processes that label into an output: the driver, and the shell that Ray starts it with."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal():
                    words = (entry / "cmdline").read_bytes().decode(errors="replace")
                    if "jobs.label" in words and str(output) in words:
                        found.append(int(entry.name))
        return found


def python_without_maskmill(folder: Path) -> Path:
    """A Python that has all packages but ours: what a machine of the cluster needs beforehand."""
    venv.create(folder, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # Of a folder that a .pth file names, the .pth files aren't read; one of them is how maskmill itself is installed.
    (folder / "lib" / version / "site-packages" / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def submitting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Submitting]:
    folder = tmp_path_factory.mktemp("submitting")
    shards = synthesize(folder / "shards", SHARDS, 20, 7)[0].parent
    token = folder / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    own = {"RAY_AUTH_MODE": "token", "HOME": str(folder / "home"), "TMPDIR": str(folder)}
    python = python_without_maskmill(folder / "venv")
    # The entrypoint is `python`, which on a cluster is the image's.
    own["PATH"] = f"{python.parent}:{os.environ['PATH']}"
    dashboard = free_ports(1)[0]
    # The token is in a file, as in the README, and not in the environment.
    with ray_nodes(2, environment=own | {"RAY_AUTH_TOKEN": ""}, dashboard=dashboard, python=python) as nodes:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= own | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}
        made = Submitting(nodes=nodes, python=python, shards=shards, folder=folder, environment=environment)
        try:
            yield made
        finally:
            for pid in made.drivers(folder):
                _kill(pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def labeled(submitting: Submitting) -> Path:
    """What a job that nothing happened to has left."""
    output = submitting.folder / "undisturbed"
    ended = submitting.run(submitting.line(output))
    assert ended.returncode == 0, ended.stdout
    assert "succeeded" in ended.stdout
    assert f"shards    {SHARDS} done, 0 failed, 0 missing, of {SHARDS} asked for" in ended.stdout
    return output


def _labels(output: Path) -> dict[str, tuple[int, int]]:
    """Label files: name -> inode and time of writing, which change if it is written again."""
    stats = {file.name: file.stat() for file in (output / "labels").glob("*.parquet")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


@pytest.mark.slow
def test_a_submitted_job_labels_every_shard(submitting: Submitting, labeled: Path) -> None:
    assert len(_labels(labeled)) == SHARDS
    verified = submitting.run([str(MASKMILL), "verify", "--deep", str(labeled)])
    assert verified.returncode == 0, verified.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("labeled")
def test_the_cluster_needs_only_the_packages(submitting: Submitting) -> None:
    # What labeled, san-tiny's weights among it, came with the job.
    for module, found in {"ray": True, "torch": True, "maskmill": False}.items():
        asked = f"import importlib.util; raise SystemExit(importlib.util.find_spec({module!r}) is None)"
        ended = submitting.run([str(submitting.python), "-P", "-c", asked])
        assert (ended.returncode == 0) == found, module


@pytest.mark.slow
@pytest.mark.usefixtures("labeled")
def test_what_travels_is_the_program_and_small(submitting: Submitting) -> None:
    (package,) = (
        path for path in submitting.nodes.nodes[1].folder.glob("**/working_dir_files/_ray_pkg_*") if path.is_dir()
    )
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    folders = {path.relative_to(package).parts[0] for path in files if path.parent != package}
    assert folders == {"jobs", "maskmill"}
    assert sum(path.stat().st_size for path in files) < 6_000_000


@pytest.mark.slow
def test_the_cluster_listens_on_this_machine_only(submitting: Submitting) -> None:
    for node in submitting.nodes.nodes:
        assert node.listening()
        assert node.listening() <= LOOPBACK


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "Missing authentication token"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "Invalid authentication token"),
    ],
)
def test_without_the_token_nothing_is_taken(submitting: Submitting, changed: dict[str, str], said: str) -> None:
    output = submitting.folder / "refused"
    ended = submitting.run(submitting.line(output), **{"HOME": str(submitting.folder / "nobody"), **changed})
    assert ended.returncode != 0
    assert said in ended.stdout
    assert not output.exists()


@pytest.mark.slow
def test_a_job_whose_driver_was_killed_is_finished_by_the_same_line(submitting: Submitting) -> None:
    output = submitting.folder / "killed"
    job = "killed-driver"
    started = submitting.run(submitting.line(output, "--no-wait", "--submission-id", job))
    assert started.returncode == 0, started.stdout
    end = time.monotonic() + PATIENCE
    began = False
    while not _labels(output):
        runs = bool(submitting.drivers(output))
        waited_in_vain = (began and not runs) or time.monotonic() > end
        assert not waited_in_vain, submitting.run([str(RAY), "job", "logs", job]).stdout
        began = began or runs
        time.sleep(0.01)
    for pid in submitting.drivers(output):
        _kill(pid)
    while "failed" not in (said := submitting.run([str(RAY), "job", "status", job]).stdout.lower()):
        assert time.monotonic() < end, said
    before = _labels(output)
    assert 0 < len(before) < SHARDS, "the driver was killed too late to be missed"

    again = submitting.run(submitting.line(output))
    assert again.returncode == 0, again.stdout
    after = _labels(output)
    assert len(after) == SHARDS
    assert before.items() <= after.items()
    verified = submitting.run([str(MASKMILL), "verify", "--deep", str(output)])
    assert verified.returncode == 0, verified.stdout
