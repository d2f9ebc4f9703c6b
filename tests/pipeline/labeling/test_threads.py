"""Decoding yields to the model, and PyTorch's threads sleep while they wait."""

import os
import sys
import threading

import pytest

from pipeline.labeling.threads import decoders, sleep_while_waiting


@pytest.mark.skipif(sys.platform != "linux", reason="niceness of single threads")
def test_decode_threads_are_nicer_than_the_process_and_nothing_else_is() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    with decoders(2) as threads:
        found = set(threads.map(lambda _: niceness(), range(8)))
    assert found == {min(19, before + 10)}
    assert niceness() == before


def test_a_wait_policy_of_the_environment_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    sleep_while_waiting()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    sleep_while_waiting()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
