"""Ends the processes of a local Ray cluster that outlive its driver: its agents do, for a minute after a SIGKILL.

Linux ends Ray's own servers with their driver, but not what those have started: agents notice, and then wait 60 s for
a server that is gone (ray/_private/process_watcher.py, publish_error_to_driver). So each cluster starts in a folder of
its own, which its processes keep as their working directory whatever they call themselves, and a small process waits
for the driver's end, whatever ends it, and then for theirs.

This file is that process too, run by its path: it imports nothing but the standard library.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROCESSES = Path("/proc")

_ROUNDS = 50
"""Looks at most, since a process may be starting others while it is ended."""


@contextmanager
def ended_with_driver(folder: Path) -> Iterator[None]:
    """Whatever is started in `folder` during this context ends with it, or with this process.

    Only where /proc tells working directories (Linux); elsewhere nothing happens.

    Args:
        folder: an existing one that nobody else works in.
    """
    if not (_PROCESSES / "self" / "cwd").exists():
        yield
        return
    # In a group of its own, so that Ctrl-C doesn't end it first. Whoever holds the other end of its input is the driver
    # alone: Python's pipes aren't inherited.
    watcher = subprocess.Popen(  # noqa: S603 (this file, and nothing from outside)
        [sys.executable, "-I", "-S", __file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        yield
    finally:
        assert watcher.stdin is not None
        watcher.stdin.close()
        watcher.wait()


def end(folder: Path) -> None:
    """End all processes but this one that work in a folder, until there are none."""
    for _ in range(_ROUNDS):
        found = working_in(folder)
        if not found:
            return
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)


def working_in(folder: Path) -> list[int]:
    """Ids of the other processes whose working directory is, or was before its removal, this folder."""
    found = []
    for process in _PROCESSES.iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                if str((process / "cwd").readlink()).removesuffix(" (deleted)") == str(folder):
                    found.append(int(process.name))
    return found


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end(Path(sys.argv[1]))
