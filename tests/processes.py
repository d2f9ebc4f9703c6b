"""What Linux tells of processes that tests have started."""

import contextlib
from collections.abc import Iterable
from pathlib import Path


def listening(pids: Iterable[int]) -> set[str]:
    """Addresses at which processes take connections, as /proc/net has them: hexadecimal, byte-swapped."""
    sockets: dict[str, str] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                sockets[f"socket:[{fields[9]}]"] = fields[1].partition(":")[0]
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            opened = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
            found |= {sockets[name] for name in opened if name in sockets}
    return found


def session_of(pid: int) -> int | None:
    """The session that a process is in; None if it has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # A zombie has ended; only its parent can take it away.
    return None if state[0] == "Z" else int(state[3])
