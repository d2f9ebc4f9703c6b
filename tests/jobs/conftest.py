"""Runs the program as a user does: in a process of its own, with a folder, a scratch and a Ray of its own."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import listening, session_of

ROOT = Path(__file__).parents[2]

MASKMILL = Path(sys.executable).with_name("maskmill")
"""The command, as it is installed."""

MANY_SEGMENTS = ("--model", "san-tiny", "--score-threshold", "0.1", "--overlap-threshold", "0")
"""Options with which san-tiny finds all it can in a scene; tests assert three segments on average."""

PATIENCE = 600.0
"""Seconds after which a command that should have ended is a failed test."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def steps(self) -> list[str]:
        """Lines of stderr but for those of progress, which come only where labeling takes longer than half a minute."""
        return [line for line in self.err.splitlines() if not re.search(r"^[\d,]+ of [\d,]+ shards, ", line)]


class Running:
    """A command under way, and all processes that it starts."""

    def __init__(self, command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [*map(str, command)],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> Ended:
        out, err = self._process.communicate(timeout=PATIENCE)
        return Ended(code=self._process.returncode, out=out, err=err)

    def until(self, condition: Callable[[], bool]) -> None:
        """Come back as soon as the condition holds; the command must not have ended by then."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self._process.poll() is None, self._process.communicate()
            assert time.monotonic() < end, "it never came to that"
            time.sleep(0.01)

    def interrupt(self) -> None:
        """What a terminal does on Ctrl-C: SIGINT to its foreground processes."""
        os.killpg(self.pid, signal.SIGINT)

    def processes(self) -> list[int]:
        """Processes of this command; Ray gives some a group of their own, but none leaves the session."""
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
        return [pid for pid in pids if session_of(pid) == self.pid]

    def listening(self) -> set[str]:
        """Addresses at which its processes take connections, as /proc/net has them: hexadecimal, byte-swapped."""
        return listening(self.processes())

    def kill(self) -> None:
        """SIGKILL to all its processes, until none is left."""
        end = time.monotonic() + PATIENCE
        while pids := self.processes():
            for pid in pids:
                _kill(pid)
            if self.pid in pids:
                self._process.wait(PATIENCE)
            assert time.monotonic() < end, f"{pids} don't end"
            time.sleep(0.01)
        self._process.poll()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """A folder to run commands in."""

    cwd: Path
    """Where commands run."""

    scratch: Path
    """What their TMPDIR is; empty again when a command has ended well."""

    environment: Mapping[str, str]
    """Their environment."""

    started: list[Running]
    """What was started here; ended by the fixture."""

    def start(self, *arguments: str | Path, program: Sequence[str | Path] = (MASKMILL,)) -> Running:
        running = Running([*program, *arguments], self.cwd, self.environment)
        self.started.append(running)
        return running

    def run(self, *arguments: str | Path, program: Sequence[str | Path] = (MASKMILL,)) -> Ended:
        return self.start(*arguments, program=program).wait()


def _workplace(cwd: Path) -> Iterator[Workplace]:
    # Ray's sockets lie below its folder, and a socket's path has at most 107 characters: pytest's folders are too deep.
    ray = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))
    scratch = cwd / "scratch"
    scratch.mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTEST_"))}
    own = {"RAY_TMPDIR": str(ray), "TMPDIR": str(scratch), "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    place = Workplace(cwd=cwd, scratch=scratch, environment=inherited | own, started=[])
    try:
        yield place
    finally:
        for running in place.started:
            running.kill()
        shutil.rmtree(ray, ignore_errors=True)


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    """A fresh folder to run commands in."""
    yield from _workplace(tmp_path)


@pytest.fixture(scope="module")
def shared_workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A folder for commands that the tests of one file look at together."""
    yield from _workplace(tmp_path_factory.mktemp("workplace"))
