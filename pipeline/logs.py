"""What a replica logs: one JSON object a line on stderr, with the shard it is about. What a job prints is not logged.

Ray keeps a worker's stderr in `worker-*.err` of its session's folder (`/tmp/ray/session_latest/logs` on the replica's
machine), where Ray and faulthandler write too: our lines are those that begin with `{`.
"""

import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from maskmill.models.redaction import redact
from maskmill.pipeline.ledger.ledger import LedgerRow

OURS = ("maskmill",)
"""Loggers of which all from INFO on is kept; of libraries it is from WARNING on."""

MAX_MESSAGE = 4_000
"""Characters of a message; what is longer is cut at the end."""

MAX_EXCEPTION = 16_000
"""Characters of a traceback; what is longer is cut at the front, as its last lines say most."""

_log = logging.getLogger(__name__)

_about: ContextVar[tuple[str | None, int | None]] = ContextVar("about", default=(None, None))


@contextmanager
def about(shard: str, attempt: int | None = None) -> Iterator[None]:
    """What this thread logs meanwhile is about this shard, and this attempt at it over all jobs.

    Threads of its own take it along if they run in a copy of the context (`contextvars.copy_context`); a store's client
    on its event loop does.
    """
    token = _about.set((shard, attempt))
    try:
        yield
    finally:
        _about.reset(token)


def began() -> None:
    """Log that a shard's labeling begins; which one, `about` says."""
    _log.info("labeling begins")


def ended(row: LedgerRow) -> None:
    """Log how a shard's labeling ended: INFO if it is done, WARNING with the reason if it failed."""
    counts = row.counts
    fields = {
        "state": row.state,
        "reason": row.reason,
        "read": counts.read,
        "labeled": counts.labeled,
        "failed": counts.failed,
        "segments": counts.segments,
        "bytes": row.bytes,
        "seconds": {phase: round(seconds, 3) for phase, seconds in (row.seconds or {}).items()},
    }
    if row.state == "done":
        _log.info("done", extra={"fields": fields})
    else:
        _log.warning("failed: %s", row.error, extra={"fields": fields})


def configure(stream: TextIO | None = None) -> None:
    """Log as this module says from here on, warnings and what ends a thread included; again does no harm.

    Args:
        stream: where lines go; stderr by default.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    for other in list(root.handlers):
        if isinstance(other.formatter, JsonLines):
            root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)
    threading.excepthook = _thread_ended


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, host, pid, shard, attempt, message, exception, and the
    record's `fields`. Credentials are taken out of all text."""

    def __init__(self) -> None:
        super().__init__()
        self._host = socket.gethostname()

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        shard, attempt = _about.get()
        value = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "host": self._host,
            "pid": os.getpid(),
            "shard": shard,
            "attempt": attempt,
            # Cut before as well, so that a text of megabytes costs nothing.
            "message": redact(_message(record)[: 2 * MAX_MESSAGE])[:MAX_MESSAGE],
        }
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            value["exception"] = redact(trace[-2 * MAX_EXCEPTION :])[-MAX_EXCEPTION:]
        fields: dict[str, Any] = getattr(record, "fields", {})
        return json.dumps(_redacted(fields) | _redacted(value), default=str)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # a library's format that doesn't fit its arguments would print a traceback with all of them
        return str(record.msg)


def _redacted(value: dict[str, Any]) -> dict[str, Any]:
    return {key: redact(entry) if isinstance(entry, str) else entry for key, entry in value.items()}


def _thread_ended(arguments: threading.ExceptHookArgs) -> None:
    name = arguments.thread.name if arguments.thread is not None else "?"
    error = arguments.exc_value
    trace = (type(error), error, arguments.exc_traceback) if error is not None else None
    _log.error("thread %s ended", name, exc_info=trace)
