"""Decoding yields to the model, and PyTorch's threads wait awake but briefly."""

import os
import sys
import threading

import pytest

from maskmill.pipeline.labeling.threads import SPIN_COUNT, decoders, wait_briefly_awake


@pytest.mark.skipif(sys.platform != "linux", reason="niceness of single threads")
def test_decode_threads_are_nicer_than_the_process_and_nothing_else_is() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    with decoders(2) as threads:
        found = set(threads.map(lambda _: niceness(), range(8)))
    assert found == {min(19, before + 10)}
    assert niceness() == before


def test_what_the_environment_says_of_waiting_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "so that it is put back")
        monkeypatch.delenv(name)
    wait_briefly_awake()
    assert os.environ["GOMP_SPINCOUNT"] == str(SPIN_COUNT)
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    wait_briefly_awake()
    assert os.environ["GOMP_SPINCOUNT"] == "5"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    wait_briefly_awake()
    assert "GOMP_SPINCOUNT" not in os.environ
