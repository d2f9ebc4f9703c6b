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

_POLICY = "OMP_WAIT_POLICY"


def sleep_while_waiting() -> None:
    """Let PyTorch's threads sleep while they wait for one another, in this process and those it starts.

    Spinning, on cores that decoding or another program wants too, was seen to make the small model thirty times slower.
    OpenMP looks when it is loaded: to be called before torch is imported. What the environment says already holds. On a
    cluster it is the image that says it (infra/Dockerfile).
    """
    os.environ.setdefault(_POLICY, "PASSIVE")


def decoders(threads: int) -> ThreadPoolExecutor:
    """Threads that decode, nicer than the process that starts them where the system has niceness of threads (Linux)."""
    return ThreadPoolExecutor(threads, thread_name_prefix="decode", initializer=_yield_to_the_model)


def _yield_to_the_model() -> None:
    # Elsewhere a thread's number may be another process's.
    if sys.platform == "linux":
        niceness = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, niceness + DECODE_NICENESS))
