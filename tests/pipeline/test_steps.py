"""What a command says before its progress bar: a line that changes on a terminal, lines in a log."""

import os
import pty
import subprocess
import sys

CODE = """
from maskmill.pipeline.steps import Steps
with Steps() as steps:
    steps("checking", logged=False)
    steps("starting Ray")
    steps("loading san-tiny")
print("done", flush=True)
"""


def test_a_log_gets_a_line_a_step():
    ended = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("done\n", "starting Ray\nloading san-tiny\n")


def test_a_terminal_gets_one_line_that_goes():
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", CODE], check=True, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    seen = os.read(ours, 4096).decode()
    os.close(ours)
    clear = "\r\x1b[2K"
    assert seen == f"{clear}checking{clear}starting Ray{clear}loading san-tiny{clear}done\r\n"
