"""A replica's log is one JSON object a line, about the right shard, and never holds a credential."""

import contextvars
import io
import json
import logging
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from _pytest.logging import LogCaptureHandler

from maskmill.pipeline import logs
from maskmill.pipeline.ledger.counts import Counts
from maskmill.pipeline.ledger.ledger import LedgerRow

URL = "s3://bucket/pairs/00001.tar"
_log = logging.getLogger("maskmill.pipeline.somewhere")


@pytest.fixture
def lines():
    """Configures logging for the test, and gives what was logged so far."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level, threading.excepthook)
    levels = {name: logging.getLogger(name).level for name in logs.OURS}
    stream = io.StringIO()
    logs.configure(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.captureWarnings(False)
    root.handlers[:], root.level, threading.excepthook = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_a_line_says_when_who_and_about_which_shard(lines):
    with logs.about(URL, 3):
        _log.info("read %d of %d", 1, 2)
    _log.info("outside")
    inside, outside = lines()
    assert set(inside) == {"time", "level", "logger", "host", "pid", "shard", "attempt", "message"}
    assert inside["time"].endswith("+00:00")
    assert (inside["level"], inside["logger"]) == ("INFO", "maskmill.pipeline.somewhere")
    assert (inside["shard"], inside["attempt"], inside["message"]) == (URL, 3, "read 1 of 2")
    assert (outside["shard"], outside["attempt"]) == (None, None)


def test_a_done_shard_is_told_with_its_counts_and_seconds(lines):
    row = LedgerRow(
        url=URL,
        state="done",
        counts=Counts(read=10, labeled=8, failed={"decode": 2}, segments=31),
        bytes=512,
        seconds={"download": 0.12345, "model": 2.0},
    )
    with logs.about(URL, 1):
        logs.began()
        logs.ended(row)
    began, ended = lines()
    assert began["message"] == "labeling begins"
    assert (ended["level"], ended["message"], ended["state"]) == ("INFO", "done", "done")
    assert (ended["read"], ended["labeled"], ended["failed"], ended["segments"]) == (10, 8, {"decode": 2}, 31)
    assert ended["seconds"] == {"download": 0.123, "model": 2.0}


def test_a_failed_shard_is_a_warning_with_its_reason(lines):
    with logs.about(URL, 2):
        logs.ended(LedgerRow(url=URL, state="failed", error="truncated: after 3 samples"))
    (line,) = lines()
    assert (line["level"], line["reason"], line["attempt"]) == ("WARNING", "truncated", 2)
    assert line["message"] == "failed: truncated: after 3 samples"


def test_shards_in_flight_keep_their_lines_apart_also_in_threads_that_help(lines):
    both = Barrier(2)

    def label(number: int) -> None:
        with logs.about(f"shard {number}", number), ThreadPoolExecutor(1) as helpers:
            for _ in range(20):
                both.wait(30)
                _log.info("%d", number)
                helpers.submit(contextvars.copy_context().run, _log.info, "%d", number).result()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(label, (1, 2)))
    told = lines()
    assert len(told) == 80
    for line in told:
        assert line["shard"] == f"shard {line['message']}"
        assert line["attempt"] == int(line["message"])


def test_credentials_are_in_no_part_of_a_line(lines):
    secret = "wJalrXUtnFEMI/K7MDENG"
    try:
        raise OSError(f"GET https://bucket.example/a.tar?X-Amz-Signature={secret}")
    except OSError:
        with logs.about(f"s3://user:{secret}@bucket/a.tar"):
            _log.exception("secret_access_key=%s", secret, extra={"fields": {"endpoint": f"https://u:{secret}@host"}})
    (line,) = lines()
    assert secret not in json.dumps(line)
    assert "OSError" in line["exception"]
    assert "https://bucket.example/a.tar" in line["exception"]


def test_hostile_text_stays_on_its_line_and_within_bounds(lines, monkeypatch):
    # pytest keeps what it captures for its report, which can't carry a lone surrogate between its processes.
    ours = [handler for handler in logging.getLogger().handlers if not isinstance(handler, LogCaptureHandler)]
    monkeypatch.setattr(logging.getLogger(), "handlers", ours)
    _log.warning('name\n{"level": "INFO"}\r\x1b[2J\ud800 %s', "x" * 1_000_000)
    _log.info("after")
    hostile, after = lines()
    assert len(hostile["message"]) == logs.MAX_MESSAGE
    assert hostile["level"] == "WARNING"
    assert after["message"] == "after"


def test_a_long_traceback_keeps_its_end(lines):
    def deeper(left: int) -> None:
        if left:
            deeper(left - 1) if left % 2 else deeper_still(left - 1)
        else:
            raise ValueError("at the bottom")

    def deeper_still(left: int) -> None:
        deeper(left)

    try:
        deeper(400)
    except ValueError:
        _log.exception("fell")
    (line,) = lines()
    assert len(line["exception"]) <= logs.MAX_EXCEPTION
    assert line["exception"].endswith("ValueError: at the bottom")


def test_of_libraries_only_warnings_are_kept_in_the_same_form(lines):
    library = logging.getLogger("botocore.retries")
    library.info("retrying")
    with logs.about(URL):
        library.warning("giving up on https://key:secret@host/")
        warnings.warn("odd image", RuntimeWarning, stacklevel=1)
    library_line, warning = lines()
    assert (library_line["message"], library_line["shard"]) == ("giving up on https://host/", URL)
    assert warning["logger"] == "py.warnings"
    assert "odd image" in warning["message"]


def test_a_librarys_broken_format_is_a_line_too():
    record = logging.LogRecord("library", logging.WARNING, __file__, 1, "%d of %d", ("secret",), None)
    assert json.loads(logs.JsonLines().format(record))["message"] == "%d of %d"


def test_a_thread_that_ends_with_an_error_is_a_line_too(lines):
    def fall() -> None:
        raise ValueError("https://key:secret@host/ fell")

    thread = threading.Thread(target=fall, name="helper")
    thread.start()
    thread.join()
    (line,) = lines()
    assert (line["level"], line["message"]) == ("ERROR", "thread helper ended")
    assert "secret" not in line["exception"]


def test_configuring_twice_logs_once(lines):
    again = io.StringIO()
    logs.configure(again)
    _log.info("once")
    assert lines() == []
    assert len(again.getvalue().splitlines()) == 1
