"""Starts a local Ray again where it was not up in time: on a busy machine its first start may take minutes."""

import os
from collections.abc import Callable

from maskmill.models.errors import EnvironmentFailure

STARTS = 3
"""Tries. What the first has read from disk, the next finds in memory."""

LIMITS = {
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_gcs_rpc_server_connect_timeout_s": "60",
}
"""Ray's own settings, read as its processes start: how long they wait for one another from the second try on. The 30 s
in which a node has to come up are fixed in Ray."""


def start_patiently(start: Callable[[], None], *, again: Callable[[], None]) -> None:
    """Start Ray, and again with longer limits where it was too slow.

    Args:
        start: starts it; an exception whose text says that something timed out is worth another try.
        again: called before each further try: ends what the last has left.

    Raises:
        EnvironmentFailure: it was too slow each time.
        Exception: whatever else `start` raises.
    """
    for _ in range(STARTS - 1):
        try:
            start()
        except Exception as error:
            if not _timed_out(error):
                raise
            again()
            for name, value in LIMITS.items():
                os.environ.setdefault(name, value)
        else:
            return
    try:
        start()
    except Exception as error:
        if not _timed_out(error):
            raise
        raise EnvironmentFailure(
            f"Ray can't start: {STARTS} times it was not up in time, as on a machine that is busy or short of memory. "
            "End other programs here, or run the same command again later."
        ) from error


def _timed_out(error: Exception) -> bool:
    return isinstance(error, TimeoutError) or "timed out" in str(error).lower()
