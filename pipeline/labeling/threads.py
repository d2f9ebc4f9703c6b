"""How the threads of a replica share its CPUs: the model's come first, decoding takes what they leave. Starts no model.

A replica has as many decode threads as threads of PyTorch. Where the model computes on the CPU both want all of them:
were they equals, a product would wait for the one piece whose CPU decodes meanwhile. With less right to the CPUs than
the model, decoding runs whenever the model waits, above all for images; neither number has to be divided by a guess.
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

DECODE_NICENESS = 10
"""By how much decode threads are nicer than their process (nice(2)): about a tenth of the model's right to a CPU."""

SPIN_COUNT = 20_000
"""Turns of the loop in which a thread of GCC's OpenMP, PyTorch's on Linux, waits awake before it sleeps; 300,000 by
default. Long enough for the next piece of a small model, short beside what another program is given of a CPU. So
san-tiny labeled 217 images/s on four idle cores and 90 beside four busy programs; by default 308 and 5, sleeping at
once 74 and 60."""

_SPIN, _POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"


def wait_briefly_awake() -> None:
    """Let PyTorch's threads wait for one another awake but briefly, in this process and those it starts.

    OpenMP looks when it is loaded: to be called before torch is imported. What the environment says already holds. On a
    cluster it is the image that says it (infra/Dockerfile).
    """
    if _POLICY not in os.environ:
        os.environ.setdefault(_SPIN, str(SPIN_COUNT))


def decoders(threads: int) -> ThreadPoolExecutor:
    """Threads that decode, nicer than the process that starts them where the system has niceness of threads (Linux)."""
    return ThreadPoolExecutor(threads, thread_name_prefix="decode", initializer=_yield_to_the_model)


def _yield_to_the_model() -> None:
    # Elsewhere a thread's number may be another process's.
    if sys.platform == "linux":
        niceness = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, niceness + DECODE_NICENESS))
