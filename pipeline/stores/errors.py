"""What a place that can't be read or written is told as: one line that names the place. It asks for nothing again."""

from collections.abc import Iterator
from contextlib import contextmanager

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline.stores.urls import redact


class OutputError(EnvironmentFailure):
    """A place below OUT can't be read or written: no permission, no space, a store that doesn't answer."""


@contextmanager
def store_errors(url: str, what: str, *passing: type[Exception]) -> Iterator[None]:
    """Stores' drivers raise errors of many kinds; all but those `passing` leave as one that says which place it was."""
    let_through: tuple[type[Exception], ...] = (UsageError, *passing)
    try:
        yield
    except let_through:
        raise
    except Exception as error:
        said = redact(" ".join(str(error).split()))[:300]
        raise OutputError(f"{redact(url)} can't be {what}: {type(error).__name__}: {said}") from error
