"""What happens before Ray starts: what needs no Ray doesn't import it, and SIGTERM ends a command like Ctrl-C."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.jobs.conftest import Ended, Workplace

WITHOUT_RAY = """
import sys
from maskmill.jobs.cli import run
code = run(sys.argv[1:])
assert 'ray' not in sys.modules
sys.exit(code)
"""


def run(place: Workplace, *arguments: str | Path) -> Ended:
    """A command of which Ray must be no part."""
    return place.run("-c", WITHOUT_RAY, *arguments, program=[sys.executable])


def test_a_job_with_nothing_to_label_is_summed_up_without_ray(workplace: Workplace) -> None:
    (workplace.cwd / "urls.csv").write_text("url,caption\n" * 100)
    words = ["label", "urls.csv", "never.tar", "-o", "out", "--model", "san-tiny"]
    dry = run(workplace, *words, "--dry-run")
    assert (dry.code, "1 not found, 1 unreadable" in dry.out, dry.err) == (1, True, "")
    assert not (workplace.cwd / "out").exists()
    ended = run(workplace, *words)
    assert (ended.code, ended.err) == (1, "")
    assert "shards    0 done, 2 failed, 0 missing, of 2 asked for" in ended.out
    assert len(list((workplace.cwd / "out" / "failed").iterdir())) == 2
    again = run(workplace, "retry", "out")
    assert (again.code, "2 failed" in again.out, again.err) == (1, True, "")


@pytest.mark.parametrize(
    "command", ["label", *(pytest.param(command, marks=pytest.mark.slow) for command in ("evaluate", "bench", "train"))]
)
def test_weights_that_are_none_are_one_line_without_ray(workplace: Workplace, scenes: list[Path], command: str) -> None:
    (workplace.cwd / "random.pth").write_bytes(os.urandom(5_000))
    option = "--init" if command == "train" else "--weights"
    words = [command, str(scenes[0]), "--model", "san-tiny", option, "random.pth", "--device", "cpu"]
    if command in ("label", "train"):
        words += ["-o", "out"]
    ended = run(workplace, *words, *(["--workers", "2"] if command == "train" else []))
    assert (ended.code, ended.out) == (2, "")
    assert "'random.pth': " in ended.err.splitlines()[-1].replace(f"{workplace.cwd}/", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_sigterm_and_a_closed_terminal_end_a_command_with_one_line(
    workplace: Workplace, number: signal.Signals, code: int
) -> None:
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("this process ignores it, and so do all that it starts: nohup")
    running = workplace.start("synthesize", "many", "--shards", "500", "--samples", "500")
    running.until(lambda: len(list((workplace.cwd / "many").glob("*.tar"))) >= 1)
    os.kill(running.pid, number)
    ended = running.wait()
    assert (ended.code, ended.err) == (code, "maskmill: terminated\n")
    assert running.processes() == []
