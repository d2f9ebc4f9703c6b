"""Reading small text files: what is refused before it is understood, and what a message may not give away."""

import pytest

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.redaction import redact
from maskmill.models.vocabulary.source import MAX_FILE_BYTES, read_text


def refused(url):
    with pytest.raises(UsageError) as error:
        read_text(str(url), option="--vocab", missing="no such file.")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_file_says_what_the_caller_says(tmp_path):
    assert refused(tmp_path / "x.txt").endswith("x.txt': no such file.")
    assert refused("memory://nowhere/x.txt").endswith(": no such file.")


def test_a_directory_is_not_a_file(tmp_path):
    assert "a directory" in refused(tmp_path)


def test_an_unknown_protocol_is_wrong_usage():
    assert "can't be opened" in refused("gopher://host/x.txt")


def test_a_store_that_does_not_answer_is_a_failure_of_the_environment():
    with pytest.raises(EnvironmentFailure) as error:
        read_text("http://user:secret@127.0.0.1:1/x.txt?token=abc", option="--vocab", missing="no such file.")
    assert str(error.value).startswith("--vocab 'http://127.0.0.1:1/x.txt': can't be read: ")
    assert "secret" not in str(error.value)
    assert "abc" not in str(error.value)


def test_a_store_that_repeats_credentials_in_its_error_gives_none_away():
    with pytest.raises(EnvironmentFailure) as error:
        read_text("s3://key:secret@bucket/x.txt", option="--vocab", missing="no such file.")
    assert "secret" not in str(error.value)


def test_a_large_file_is_refused_unread_beyond_the_bound(tmp_path):
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES * 1000)
    assert "more than 2,097,152 bytes" in refused(path)


def test_bytes_that_are_not_utf8_are_refused_by_line(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("cat\ncafé\n".encode("latin-1"))
    assert "line 2: not UTF-8 (byte 7). Save it as UTF-8." in refused(path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@host/a.txt?token=abc", "https://host/a.txt"),
        ("s3://key:secret@bucket/a.txt", "s3://bucket/a.txt"),
        ("s3://key:sec/ret@bucket/a.txt", "s3://bucket/a.txt"),
        ("http://host:8080/a@b.txt", "http://host:8080/a@b.txt"),
        ("hf://owner/repo@main/a.txt", "hf://owner/repo@main/a.txt"),
        ("/data/what?.txt", "/data/what?.txt"),
        ("me@host.txt", "me@host.txt"),
    ],
)
def test_no_secret_of_a_url_is_shown(url, shown):
    assert redact(url) == shown
