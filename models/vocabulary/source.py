"""Small text files from anywhere fsspec reaches, bounded and decoded. What the text means is the caller's business."""

from maskmill.models import remote
from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.redaction import redact_error, redact_url

MAX_FILE_BYTES = 2 * 1024 * 1024
"""Larger vocabulary and template files are refused unread; ADE's 847 names are 12 kB."""


def read_text(url: str, *, option: str, missing: str) -> str:
    """The text of a small UTF-8 file, line ends made `\\n`, a byte order mark dropped.

    Args:
        url: a path or any fsspec URL.
        option: the option that named it, for messages.
        missing: what to say after the value where there is no such file.

    Raises:
        UsageError: no such file, not a file, too large, not UTF-8, an unknown protocol.
        EnvironmentFailure: the file may be there but can't be read (permission, network).
    """
    shown = f"{option} {redact_url(url)!r}"
    try:
        fs, path = remote.filesystem(url)
        with fs.open(path, "rb") as file:
            raw: bytes = file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
            # fsspec's HTTP says "not found" of a host that doesn't answer.
            raise EnvironmentFailure(f"{shown}: can't be read: {type(cause).__name__}: {_line(cause, url)}") from error
        raise UsageError(f"{shown}: {missing}") from None
    except IsADirectoryError:
        raise UsageError(f"{shown}: a directory; expected a file. Name the file in it.") from None
    except (ValueError, ImportError) as error:
        # fsspec: an unknown protocol is a ValueError, one whose package isn't installed an ImportError.
        raise UsageError(f"{shown}: can't be opened: {_line(error, url)}. Expected a path or an fsspec URL.") from None
    except Exception as error:
        # Each store raises its own errors; whatever they are, the file wasn't read.
        raise EnvironmentFailure(f"{shown}: can't be read: {type(error).__name__}: {_line(error, url)}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise UsageError(f"{shown}: more than {MAX_FILE_BYTES:,} bytes; expected a small text file.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{shown} line {line}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _line(error: BaseException, url: str) -> str:
    return redact_error(error, url)[:200].rstrip(".")
