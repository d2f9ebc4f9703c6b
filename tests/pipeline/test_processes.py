"""Worker processes end with the process that made them, and Ctrl-C is its own affair, from their start on."""

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maskmill.models.errors import EnvironmentFailure
from maskmill.pipeline.processes import process_pool, result_of

WORKING = """
import os, sys, threading
from maskmill.pipeline.processes import process_pool
if __name__ == "__main__":
    with process_pool(2) as pool:
        pids = {pool.submit(os.getpid).result() for _ in range(50)}
        print(*pids, flush=True)
        threading.Event().wait()
"""

STARTING = """
import signal, threading
from maskmill.pipeline.processes import process_pool
if __name__ == "__main__":
    try:
        with process_pool(3) as pool:
            print("started", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(WORKING)
    parent = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = parent.stdout.readline().split()
    assert pids
    workers = [os.pidfd_open(int(pid)) for pid in pids]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for worker in workers:
        assert select.select([worker], [], [], 60)[0], "it lives on"
        os.close(worker)


def test_control_c_while_workers_start_is_heard_by_the_parent_alone(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(STARTING)
    ours, theirs = pty.openpty()
    # The first process of a session with a terminal: what is typed there interrupts its group, workers among them.
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import fcntl, termios, runpy; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
         f"runpy.run_path({str(program)!r}, run_name='__main__')"],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while b"started" not in seen:
        seen += os.read(ours, 4096)
    os.write(ours, b"\x03")
    parent.wait(60)
    while True:
        try:
            more = os.read(ours, 4096)
        except OSError:  # the terminal of a session that ended
            break
        if not more:
            break
        seen += more
    os.close(ours)
    # The terminal drops what waits when it is interrupted, a line end for instance.
    assert b"".join(seen.replace(b"^C", b"").split()) == b"startedinterrupted"


def test_a_killed_worker_is_one_line() -> None:
    with process_pool(1) as pool, pytest.raises(EnvironmentFailure, match=r"a worker process was killed.*Take more"):
        result_of(pool.submit(os.kill, pool.submit(os.getpid).result(), signal.SIGKILL), "Take more.")
