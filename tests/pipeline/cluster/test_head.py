"""Whether the cluster's head is there: a real socket that listens, and one that no longer does."""

import socket
import threading

from maskmill.pipeline.cluster.head import RAYS_SETTING, answers, patience, watched


def test_a_head_that_stops_listening_is_told_once_its_silence_lasts():
    told, silences = threading.Event(), []

    def gone(silent: float) -> None:
        silences.append(silent)
        told.set()

    with socket.create_server(("127.0.0.1", 0)) as head:
        address = "127.0.0.1:{1}".format(*head.getsockname())
        with watched(address, seconds=0.03, pause=0.01, gone=gone):
            assert answers(address)
            assert not told.wait(0.1), "it listens"
            head.close()
            assert told.wait(30)
    assert len(silences) == 1


def test_the_last_word_comes_before_rays_own_end(monkeypatch):
    monkeypatch.delenv(RAYS_SETTING, raising=False)
    assert patience() == 45.0
    monkeypatch.setenv(RAYS_SETTING, "600")
    assert patience() == 450.0
