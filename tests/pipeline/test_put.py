"""A label file is one PUT, which replaces nothing and is known to have arrived; against a server that speaks S3."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.publish import OutputError, publish, read_bytes
from tests.object_store import ObjectStore, s3_server


@pytest.fixture(scope="module")
def server():
    with s3_server() as store:
        yield store


@pytest.fixture
def store(server: ObjectStore) -> ObjectStore:
    server.objects.clear()
    server.requests.clear()
    server.arriving.clear()
    server.unconditional = False
    return server


@pytest.fixture
def local(tmp_path) -> Path:
    path = tmp_path / "local"
    path.write_bytes(os.urandom(100_000))
    return path


URL = "s3://shards/out/labels/a.parquet"
KEY = "out/labels/a.parquet"


def puts(store: ObjectStore) -> int:
    return sum(request.startswith("PUT") for request in store.requests)


def test_a_file_is_one_put(store, local):
    os.truncate(local, 150 << 20)  # more than the driver sends in one piece of its own accord
    assert publish(local, URL, overwrite=False)
    assert store.objects[KEY] == local.read_bytes()
    assert puts(store) == 1
    assert not any(request.startswith(("POST", "DELETE")) for request in store.requests)


def test_what_is_there_stays_if_it_must_not_be_replaced(store, local):
    store.objects[KEY] = b"first"
    assert not publish(local, URL, overwrite=False)
    assert store.objects[KEY] == b"first"
    assert publish(local, URL)
    assert store.objects[KEY] == local.read_bytes()


def test_a_put_whose_answer_was_lost_is_ours(store, local):
    """The driver sends it again and is told that the object exists."""
    store.lost.add(KEY)
    assert publish(local, URL, overwrite=False)
    assert puts(store) == 2
    assert store.objects[KEY] == local.read_bytes()


def test_a_put_whose_answer_was_lost_is_ours_when_the_store_tells_no_md5(store, local):
    store.lost.add(KEY)
    store.encrypted.add(KEY)
    try:
        assert publish(local, URL, overwrite=False)
        assert publish(local, URL)
        store.objects[KEY] = bytes(100_000)
        assert not publish(local, URL, overwrite=False)
    finally:
        store.encrypted.clear()


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_object_that_came_out_otherwise_is_removed_and_told(store, local, overwrite):
    store.garbled.add(KEY)
    with pytest.raises(OutputError, match="other bytes than were sent"):
        publish(local, URL, overwrite=overwrite)
    assert KEY not in store.objects
    assert publish(local, URL, overwrite=overwrite)


def test_a_store_that_knows_no_conditions_is_asked_first(store, local):
    store.unconditional = True
    assert publish(local, URL, overwrite=False)
    assert store.objects[KEY] == local.read_bytes()
    store.objects[KEY] = b"first"
    assert not publish(local, URL, overwrite=False)
    assert read_bytes(URL) == b"first"


def test_a_kill_in_the_middle_of_a_put_leaves_no_object(store, local):
    os.truncate(local, 64 << 20)
    code = "import sys, pathlib, pipeline.publish as p; p.publish(pathlib.Path(sys.argv[1]), sys.argv[2])"
    child = subprocess.Popen([sys.executable, "-c", code, str(local), URL])
    try:
        assert store.arriving.wait(60)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(60)
    assert KEY not in store.objects
    assert publish(local, URL, overwrite=False)
