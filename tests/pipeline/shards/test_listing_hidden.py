"""Hidden files, which Macs and others leave beside shards, are no shards unless somebody names them."""

import logging

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from maskmill.models.errors import UsageError
from maskmill.pipeline.shards.listing import expand

FILES = ("0.tar", "1.tar", "._0.tar", ".1.tar", "__MACOSX/0.tar", "deep/2.tar", "deep/._2.tar", "deep/__MACOSX/2.tar")


@pytest.fixture(params=["folder", "store"])
def place(request, tmp_path):
    """A folder with such files, below a folder that is hidden itself."""
    if request.param == "folder":
        for name in FILES:
            path = tmp_path / ".cache" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        return str(tmp_path / ".cache")
    MemoryFileSystem().pipe({f"/hidden/.cache/{name}": b"" for name in FILES})
    return "memory://hidden/.cache"


def names(place: str, argument: str) -> list[str]:
    return [found.removeprefix(f"{place}/") for found in expand([f"{place}{argument}"])]


def test_a_folder_gives_the_shards_that_are_not_hidden_and_says_how_many_are(place, caplog):
    slash = "/" if place.startswith("memory") else ""  # a store's name with a dot may be a file
    assert names(place, slash) == ["0.tar", "1.tar"]
    assert caplog.record_tuples[-1][1] == logging.WARNING
    assert "2 hidden files, or files below __MACOSX, are left out" in caplog.text


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/*.tar", ["0.tar", "1.tar"]),
        ("/**/*.tar", ["0.tar", "1.tar", "deep/2.tar"]),
        ("/*/*.tar", ["deep/2.tar"]),
        ("/deep/*.tar", ["deep/2.tar"]),
    ],
)
def test_a_glob_gives_the_shards_that_are_not_hidden(place, pattern, found):
    assert names(place, pattern) == found


def test_a_hidden_file_that_is_meant_is_taken(place):
    assert names(place, "/._0.tar") == ["._0.tar"]
    assert names(place, "/._*.tar") == ["._0.tar"]
    assert names(place, "/__MACOSX/*.tar") == ["__MACOSX/0.tar"]


def test_a_glob_that_matches_hidden_files_alone_matches_nothing(place):
    with pytest.raises(UsageError, match="matches no"):
        names(place, "/[._]*.tar")
