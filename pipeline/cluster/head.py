"""Ends the driver with one line when the cluster's head is gone: Ray would end it a little later without a word.

Where the raylet of the driver's own machine dies alone, and the head's GCS lives on, Ray ends the driver within a
second with its own pages and exit code 1, and asks nobody; the same command goes on from there all the same.
"""

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

EXIT_CODE = 3
"""The environment failed."""

LOOK_SECONDS = 5.0
"""Time between two looks, and the longest wait for an answer."""

RAYS_SETTING = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""Ray's own setting: the silence of its head, in seconds, after which it ends a driver."""

RAYS_SECONDS = 60.0
"""What it is where nobody set it."""

SHARE = 0.75
"""Part of that time after which we do."""


def patience() -> float:
    """Seconds of silence that are borne: a little less than Ray bears, so that the last word is ours."""
    return SHARE * float(os.environ.get(RAYS_SETTING) or RAYS_SECONDS)


def end(silent: float) -> None:
    """End this process with one line. Nothing is lost by it: what a job wrote, another finds."""
    console = Console(stderr=True)
    console.show_cursor()  # the progress bar hides it
    console.file.write(
        f"maskmill: ended early: the head of the Ray cluster has not answered for {silent:.0f} s. "
        "Start it, and run the same command again: it goes on from here.\n"
    )
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Whoever waits for Ray now waits for ever, the handlers that Python runs at its end among them.
    os._exit(EXIT_CODE)


@contextmanager
def watched(
    address: str, *, seconds: float | None = None, pause: float = LOOK_SECONDS, gone: Callable[[float], None] = end
) -> Iterator[None]:
    """Look for the head for the length of a `with`.

    Args:
        address: HOST:PORT of its GCS.
        seconds: silence that is borne; `patience()` by default.
        pause: seconds between looks.
        gone: called once, from a thread, with the seconds of silence.
    """
    over = threading.Event()
    most = patience() if seconds is None else seconds

    def look() -> None:
        silent = 0.0
        while not over.wait(pause):
            silent = 0.0 if answers(address) else silent + pause
            if silent >= most:
                gone(silent)
                return

    thread = threading.Thread(target=look, name="head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def answers(address: str) -> bool:
    """Whether somebody takes connections at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK_SECONDS).close()
    except OSError:
        return False
    return True
