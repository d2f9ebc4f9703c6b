"""A program that is killed while it writes a file: what it leaves."""

import os
import signal
from pathlib import Path

from maskmill.pipeline.stores.leftovers import leftovers
from maskmill.pipeline.stores.local_file import replacing


def killed_as_it_wrote(path: Path) -> Path:
    """Kill a process half way through `replacing`; the temporary file that it leaves beside `path`."""
    before = set(leftovers(str(path.parent)))
    child = os.fork()
    if child == 0:
        with replacing(path) as waiting:
            waiting.write_bytes(b"half a fi")
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    (left,) = set(leftovers(str(path.parent))) - before
    return left
