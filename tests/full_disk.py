"""Runs a command where no file can grow beyond some bytes, as on a disk that fills."""

import subprocess
import sys
from typing import Any

ON_A_FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from maskmill.jobs.cli import main
main(sys.argv[2:])
"""


def on_a_full_disk(size: int, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """How `maskmill ARGUMENTS` ended."""
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(size), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)
