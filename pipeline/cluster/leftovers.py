"""Ends the processes of a local Ray cluster that outlive its driver: its agents do, for a minute after a SIGKILL.

Linux ends Ray's own servers with their driver, but not what those have started: agents notice, and then wait 60 s for a
server that is gone (ray/_private/process_watcher.py, publish_error_to_driver). So each cluster's processes carry a mark
in their environment, and a small process waits for the driver's end, whatever ends it, and then for theirs.

This file is that process too, run by its path: it imports nothing but the standard library.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "MASKMILL_CLUSTER"
"""Environment variable that a cluster's processes have, with a value of its own for each cluster."""

_PROCESSES = Path("/proc")

_ROUNDS = 50
"""Looks at most, since a process may be starting others while it is ended."""


@contextmanager
def ended_with_driver() -> Iterator[str]:
    """Whatever is started in this context ends with it, or with this process. Gives the mark's value.

    Only where /proc tells environments (Linux); elsewhere nothing happens.
    """
    value = uuid.uuid4().hex
    if not (_PROCESSES / "self" / "environ").exists():
        yield value
        return
    # In a group of its own, so that Ctrl-C doesn't end it first. Whoever holds the other end of its input is the driver
    # alone: Python's pipes aren't inherited.
    watcher = subprocess.Popen(  # noqa: S603 (this file, and nothing from outside)
        [sys.executable, "-I", "-S", __file__, value],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    os.environ[MARK] = value
    try:
        yield value
    finally:
        del os.environ[MARK]
        assert watcher.stdin is not None
        watcher.stdin.close()
        watcher.wait()


def end(value: str) -> None:
    """End the processes with this mark, until there are none."""
    for _ in range(_ROUNDS):
        found = marked(value)
        if not found:
            return
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)


def marked(value: str) -> list[int]:
    """Ids of the running processes that were started with this mark."""
    entry = f"{MARK}={value}".encode()
    found = []
    for folder in _PROCESSES.iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                if entry in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end(sys.argv[1])
