"""A cluster's processes end with their driver, also when it is killed. Real processes; Ray is not needed for it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

DRIVER = """
import os, signal, subprocess, sys, tempfile
from contextlib import chdir
from pathlib import Path
from maskmill.pipeline.cluster.leftovers import ended_with_driver
folder = Path(tempfile.mkdtemp(dir={place!r})).resolve()
with ended_with_driver(folder), chdir(folder):
    # What a server starts, and what that starts, in a session of its own.
    code = (
        "import subprocess, sys\\n"
        "subprocess.run([sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(600)'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    process.stdout.readline()
    print(process.pid, flush=True)
    {end}
"""


def driver(end: str, place: Path) -> tuple[int, int]:
    """Its exit code, and the id of a process that it started; comes back when nobody holds its output any more."""
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER.format(end=end, place=str(place))], check=False, capture_output=True, text=True
    )
    return ended.returncode, int(ended.stdout)


def test_they_end_when_the_driver_ends(tmp_path):
    code, process = driver("pass", tmp_path)
    assert (code, is_running(process)) == (0, False)


def test_they_end_when_the_driver_is_killed(tmp_path):
    code, process = driver("os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    assert code == -signal.SIGKILL
    while is_running(process):
        pass


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
