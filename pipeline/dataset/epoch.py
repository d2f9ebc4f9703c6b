"""The number of the epoch, as the process that trains sets it and as its worker processes see it."""

from typing import Any

import torch

_UNSET = -1


class Epoch:
    """One number, the same in all workers of an epoch whatever they did before.

    Workers that start get it with the data set, so that they agree even if it is set again at that moment. Workers that
    persist read it from shared memory when they begin again.
    """

    def __init__(self) -> None:
        self._own = _UNSET
        self._shared = _shared(_UNSET, 0)
        self._begun = False

    def set(self, number: int) -> None:
        """Set it for all that begin from now on; 0 or more."""
        self._own = number
        self._shared[0], self._shared[1] = number, 0

    def number(self, *, worker: bool) -> int | None:
        """The number as an iteration that begins now has it; None if it was never set.

        Args:
            worker: whether this is a worker process.
        """
        number = int(self._shared[0]) if worker and self._begun else self._own
        return None if number == _UNSET else number

    def begin(self, *, worker: bool) -> int | None:
        """Begin an iteration; returns its number."""
        number = self.number(worker=worker)
        self._begun = self._begun or worker
        return number

    @property
    def read(self) -> bool:
        """Whether `mark_read` was called since the number was set, in any process."""
        return bool(self._shared[1])

    def mark_read(self) -> None:
        """Remember that an iteration came to its end."""
        self._shared[1] = 1

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # A copy of its own is not a worker's.
        if not self._shared.is_shared():  # type: ignore[no-untyped-call]  # torch has no annotation there
            self._shared = _shared(*self._shared.tolist())


def _shared(number: int, read: int) -> torch.Tensor:
    shared = torch.tensor([number, read], dtype=torch.int64)
    shared.share_memory_()  # type: ignore[no-untyped-call]  # torch has no annotation there
    return shared
