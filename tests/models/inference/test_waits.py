"""What counts waits for an accelerator does count them: else the tests that bound them would say nothing."""

from collections.abc import Callable

import pytest
import torch

from tests.models.inference.waits import Waits

VALUES, FLAGS = torch.arange(6), torch.arange(6) > 2

WAITING: dict[str, Callable[[], object]] = {
    "tolist": VALUES.tolist,
    "numpy": VALUES.numpy,
    "cpu": VALUES.cpu,
    "item": VALUES[0].item,
    "bool": lambda: bool(FLAGS.any()),
    "int": lambda: int(VALUES.sum()),
    "a mask": lambda: VALUES[FLAGS],
    "writing through a mask": lambda: VALUES.clone().__setitem__(FLAGS, VALUES[:3]),
    "nonzero": FLAGS.nonzero,
    "unique": VALUES.unique,
    "bincount": VALUES.bincount,
    "repeat_interleave": lambda: VALUES.repeat_interleave(VALUES),
}


@pytest.mark.parametrize("call", WAITING)
def test_what_waits_is_counted(call: str) -> None:
    with Waits() as waits:
        WAITING[call]()
    assert waits.seen


def test_what_does_not_wait_is_not() -> None:
    with Waits() as waits:
        chosen = torch.where(FLAGS, VALUES, 0).sort(stable=True).values
        chosen[VALUES] = chosen.cumsum(0)[VALUES.flip(0)]
        chosen.scatter_(0, VALUES, 1).index_add_(0, VALUES, VALUES)
    assert waits.seen == []
