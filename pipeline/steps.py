"""What a command says on stderr before its progress bar and after it, so that nobody waits before an empty terminal."""

import os
import sys
from types import TracebackType
from typing import ClassVar

_CLEAR = "\r\x1b[2K"


class Steps:
    """Says what a command is doing, for the length of a `with`: in a line that changes on a terminal, else in lines.

    The line goes before anything else is printed through pipeline/terminal.py.
    """

    _shown: ClassVar[bool] = False
    """Whether the line of any step stands on the terminal."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.clear()

    def __call__(self, what: str, *, logged: bool = True) -> None:
        """Say what comes next.

        Args:
            what: a few words, such as `loading san-tiny`.
            logged: whether a file or a pipe gets the line too.
        """
        if self._live:
            sys.stderr.write(f"{_CLEAR}{what}")
            sys.stderr.flush()
            Steps._shown = True
        elif logged:
            sys.stderr.write(f"{what}\n")
            sys.stderr.flush()

    @staticmethod
    def clear() -> None:
        """Take the line off the terminal: something else is printed now."""
        if Steps._shown:
            Steps._shown = False
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
