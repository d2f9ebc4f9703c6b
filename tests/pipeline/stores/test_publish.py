"""What is published is there whole or not at all, on file systems and in stores."""

import errno
import os
import signal
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from maskmill.pipeline.stores.leftovers import leftovers
from maskmill.pipeline.stores.publish import (
    OutputError,
    is_local,
    names,
    publish,
    publish_bytes,
    read_bytes,
    remove,
)


@pytest.fixture(params=["path", "file", "memory"])
def place(request, tmp_path):
    """A folder to publish into: a path, a file:// URL, and a store that has no folders and no renames."""
    return {
        "path": str(tmp_path / "out"),
        "file": f"file://{tmp_path}/out",
        "memory": f"memory://{uuid.uuid4().hex}/out",
    }[request.param]


def test_a_file_is_published_read_listed_and_removed(place, tmp_path):
    local = tmp_path / "local"
    local.write_bytes(b"whole")
    url = f"{place}/deep/er/name.parquet"
    assert read_bytes(url) is None
    assert names(f"{place}/deep/er") == []
    publish(local, url)
    assert read_bytes(url) == b"whole"
    assert names(f"{place}/deep/er") == ["name.parquet"]
    assert local.read_bytes() == b"whole"
    remove(url)
    remove(url)
    assert read_bytes(url) is None


def test_what_is_there_is_replaced(place):
    url = f"{place}/run.json"
    publish_bytes(b"old and long", url)
    publish_bytes(b"new", url)
    assert read_bytes(url) == b"new"
    assert names(place) == ["run.json"]


def test_what_is_there_stays_if_it_must_not_be_replaced(place, tmp_path):
    local = tmp_path / "local"
    url = f"{place}/labels/a.parquet"
    local.write_bytes(b"first")
    assert publish(local, url, overwrite=False)
    assert publish(local, url, overwrite=False), "these very bytes stand there"
    local.write_bytes(b"other")
    assert not publish(local, url, overwrite=False)
    assert read_bytes(url) == b"first"
    assert publish(local, url)
    assert read_bytes(url) == b"other"
    assert names(f"{place}/labels") == ["a.parquet"]


def test_of_many_that_publish_at_once_one_wins_and_all_know_it(tmp_path):
    url = str(tmp_path / "labels" / "a.parquet")
    files = [tmp_path / str(n) for n in range(8)]
    for n, file in enumerate(files):
        file.write_bytes(bytes([n]) * (1 << 20))
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda file: publish(file, url, overwrite=False), files))
    assert won.count(True) == 1
    assert read_bytes(url) == files[won.index(True)].read_bytes()
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["a.parquet"]


def test_a_file_system_without_links_publishes_all_the_same(tmp_path, monkeypatch):
    """FAT and some that are mounted from stores have none; the kernel's answer is what is put in its place."""

    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    local = tmp_path / "local"
    local.write_bytes(b"first")
    url = str(tmp_path / "labels" / "a.parquet")
    assert publish(local, url, overwrite=False)
    local.write_bytes(b"other")
    assert not publish(local, url, overwrite=False)
    assert read_bytes(url) == b"first"


def killed_at(step: int, local: Path, url: str, *, overwrite: bool) -> bool:
    """Publish in a process that kills itself before its step-th call into the system; whether it came so far."""
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, _: object) -> None:
            nonlocal seen
            if event in STEPS:
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        publish(local, url, overwrite=overwrite)
        os._exit(0)
    _, ended = os.waitpid(child, 0)
    assert ended in (0, signal.SIGKILL), ended
    return ended == signal.SIGKILL


STEPS = ("open", "os.mkdir", "os.link", "os.rename", "os.remove", "os.listdir", "shutil.copyfile")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("before", [None, b"before" * 1000])
def test_a_kill_at_any_step_leaves_the_old_file_or_the_new_one(tmp_path, overwrite, before):
    local = tmp_path / "local"
    local.write_bytes(b"whole" * 100_000)
    step = 1
    while True:
        folder = tmp_path / str(step) / "labels"
        url = str(folder / "a.parquet")
        if before is not None:
            publish_bytes(before, url)
        killed = killed_at(step, local, url, overwrite=overwrite)
        assert read_bytes(url) in (before, local.read_bytes()), step
        assert not folder.exists() or names(str(folder)) in ([], ["a.parquet"])
        again = publish(local, url, overwrite=overwrite)
        assert again is (overwrite or before is None), step
        assert read_bytes(url) == (local.read_bytes() if again else before)
        if not killed:
            break
        step += 1
    assert step > 6, "the kill came at too few steps to mean anything"


def test_a_kill_in_the_middle_of_copying_leaves_no_name(tmp_path):
    local = tmp_path / "local"
    local.write_bytes(bytes(1 << 20))
    os.truncate(local, 4 << 30)  # sparse: long to copy, nothing to keep
    folder = tmp_path / "labels"
    child = os.fork()
    if child == 0:
        publish(local, str(folder / "a.parquet"), overwrite=False)
        os._exit(0)
    while not any(copy.stat().st_size for copy in leftovers(str(folder))):
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it was published before it could be killed"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert names(str(folder)) == []
    assert len(leftovers(str(folder))) == 1


def test_a_reader_sees_the_old_file_or_the_new_one_and_never_a_part(tmp_path):
    url = str(tmp_path / "labels" / "a.parquet")
    versions = [bytes([n]) * (1 << 20) for n in range(12)]
    local = tmp_path / "local"
    local.write_bytes(versions[0])
    publish(local, url)
    seen: list[bytes] = []
    over = threading.Event()

    def read():
        while not over.is_set():
            data = read_bytes(url)
            assert data is not None
            seen.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions[1:]:
        local.write_bytes(version)
        publish(local, url)
    over.set()
    reader.join()
    assert all(data in versions for data in seen)


def test_nothing_is_left_behind_when_the_copy_fails(tmp_path):
    target = tmp_path / "out" / "a.parquet"
    with pytest.raises(OutputError, match=r"a\.parquet can't be written: FileNotFoundError"):
        publish(tmp_path / "never written", str(target))
    assert list(target.parent.iterdir()) == []


def test_nothing_is_left_behind_when_the_place_is_taken_by_a_folder(tmp_path):
    (tmp_path / "out" / "a.parquet" / "inside").mkdir(parents=True)
    with pytest.raises(OutputError, match="can't be written"):
        publish_bytes(b"data", str(tmp_path / "out" / "a.parquet"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.parquet"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_an_error_of_the_environment(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="PermissionError"):
        publish_bytes(b"data", str(tmp_path / "run.json"))


def test_a_folder_below_a_file_is_one_line_that_names_the_place(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError) as refused:
        publish_bytes(b"data", str(tmp_path / "file" / "run.json"))
    assert str(tmp_path / "file" / "run.json") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_under_way_is_no_name_that_a_listing_gives(tmp_path):
    (tmp_path / ".0123.tmp").write_bytes(b"left by a process that was killed")
    (tmp_path / "a.parquet").write_bytes(b"")
    assert names(str(tmp_path)) == ["a.parquet"]


def test_a_name_of_the_longest_kind_can_be_published(tmp_path):
    url = str(tmp_path / ("n" * 247 + ".parquet"))
    publish_bytes(b"data", url)
    assert read_bytes(url) == b"data"


@pytest.mark.parametrize(
    ("url", "local"),
    [("out", True), ("/out", True), ("file:///out", True), ("FILE:///out", True), ("s3://b/out", False),
     ("memory://out", False)],
)  # fmt: skip
def test_local_places_are_known_from_their_urls(url, local):
    assert is_local(url) is local
