"""The number of the epoch, as the process that trains sets it and as its worker processes see it."""

from typing import Any

import torch

_UNSET = -1


class Epoch:
    """One number, the same in all workers of an epoch whatever they did before.

    Workers that start get it with the data set, so that they agree even if it is set again at that moment. Workers that
    persist begin again each in its own time: the first of them leaves in shared memory what it read there.
    """

    def __init__(self) -> None:
        self._own = _UNSET
        self._shared = _shared([_UNSET, 0, 0, 0, _UNSET])
        """The number; whether it was read; of the iteration that began last its workers, its count, its number."""
        self._begun = 0

    def set(self, number: int) -> None:
        """Set it for all that begin from now on; 0 or more."""
        self._own = number
        self._shared[0], self._shared[1] = number, 0

    def number(self, *, worker: bool) -> int | None:
        """The number as an iteration that begins now has it; None if it was never set.

        Args:
            worker: whether this is a worker process.
        """
        return _set(int(self._shared[0]) if worker and self._begun else self._own)

    def begin(self, *, worker: bool, workers: int = 0) -> int | None:
        """Begin an iteration; returns its number.

        Args:
            worker: whether this is a worker process.
            workers: what the workers of one DataLoader have in common, and those of another have not.
        """
        if not worker:
            return self.number(worker=False)
        self._begun += 1
        if self._begun == 1:
            return _set(self._own)
        key = torch.tensor([workers, self._begun])
        if not torch.equal(self._shared[2:4], key):
            # Two workers may both come here. They differ if the number is set between their next two lines alone.
            self._shared[4] = self._shared[0]
            self._shared[2:4] = key
        return _set(int(self._shared[4]))

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
            self._shared = _shared(self._shared.tolist())


def _set(number: int) -> int | None:
    return None if number == _UNSET else number


def _shared(numbers: list[int]) -> torch.Tensor:
    shared = torch.tensor(numbers, dtype=torch.int64)
    shared.share_memory_()  # type: ignore[no-untyped-call]  # torch has no annotation there
    return shared
