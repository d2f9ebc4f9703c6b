"""What a command says before its progress bar: a line that changes on a terminal, lines in a log."""

import os
import pty
import subprocess
import sys

import pytest

from maskmill.jobs import cli
from maskmill.models.errors import UsageError
from maskmill.pipeline.steps import Steps

CODE = """
from maskmill.pipeline.steps import Steps
with Steps() as steps:
    steps("checking", logged=False)
    steps("starting Ray")
    steps("loading san-tiny")
print("done", flush=True)
"""

PRINTED = """
from maskmill.pipeline.steps import Steps
from maskmill.pipeline.terminal import print_lines
Steps()("adding up", logged=False)
print_lines("done")
"""

CLEAR = "\r\x1b[2K"


def test_a_log_gets_a_line_a_step():
    ended = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("done\n", "starting Ray\nloading san-tiny\n")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (CODE, f"{CLEAR}checking{CLEAR}starting Ray{CLEAR}loading san-tiny{CLEAR}done\r\n"),
        (PRINTED, f"{CLEAR}adding up{CLEAR}done\r\n"),
    ],
)
def test_a_terminal_gets_one_line_that_goes(code, expected):
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    seen = os.read(ours, 4096).decode()
    os.close(ours)
    assert seen == expected


@pytest.mark.parametrize(
    "words",
    [
        "status out", "verify out", "stats out", "report out -o a.html", "show out -o a.png", "compact out dest",
        "export out --format coco -o dest", "synthesize made", "evaluate a.tar --labels out", "bench --model san-tiny",
        "label a.tar -o out", "retry out", ["query", "out", "SELECT 1"],
    ],
)  # fmt: skip
def test_a_command_says_what_it_does_before_all_that_may_take_long(words, monkeypatch, tmp_path, capsys):
    def say(_steps, what, *, logged=True):
        raise UsageError(f"said {what}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Steps, "__call__", say)
    assert cli.run(words.split() if isinstance(words, str) else words) == 2
    assert capsys.readouterr().err.startswith("maskmill: said ")
