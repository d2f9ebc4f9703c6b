"""A label file is one PUT, which replaces nothing and is known to have arrived; against a server that speaks S3."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from maskmill.pipeline.stores.errors import OutputError
from maskmill.pipeline.stores.publish import publish, read_bytes
from tests.object_store import ObjectStore, s3_server
from tests.s3_server import led_to, moto_server


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
    code = (
        "import sys, pathlib, maskmill.pipeline.stores.publish as p; p.publish(pathlib.Path(sys.argv[1]), sys.argv[2])"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(local), URL])
    try:
        assert store.arriving.wait(60)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(60)
    assert KEY not in store.objects
    assert publish(local, URL, overwrite=False)


def publish_each(local: Path, urls: list[str]) -> list[bool]:
    """What a replica does: one file after the other, none in place of another's."""
    return [publish(local, url, overwrite=False) for url in urls]


@pytest.mark.slow
def test_of_several_processes_that_publish_one_shard_on_s3_one_wins_and_all_know_it(tmp_path):
    """moto answers If-None-Match as S3 does; the processes start together on the same shards."""
    files = [tmp_path / str(number) for number in range(4)]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * 300_000)
    with moto_server() as server, led_to(server):
        urls = [server.url(f"out/labels/{number}.parquet") for number in range(12)]
        with ProcessPoolExecutor(len(files), get_context("spawn")) as processes:
            won = list(processes.map(publish_each, files, [urls] * len(files)))
        objects = server.objects("out/")
    assert sorted(objects) == sorted(url.removeprefix(server.url("")) for url in urls)
    for number, url in enumerate(urls):
        winners = [file for file, told in zip(files, won, strict=True) if told[number]]
        assert len(winners) == 1, url
        assert objects[url.removeprefix(server.url(""))] == winners[0].read_bytes()
