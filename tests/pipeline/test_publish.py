"""What is published is there whole or not at all, on file systems and in stores."""

import os
import threading
import uuid

import pytest

from pipeline.publish import OutputError, is_local, names, publish, publish_bytes, read_bytes, remove


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
