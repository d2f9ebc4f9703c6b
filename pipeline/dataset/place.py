"""Which of the processes that train together this one is, as it stands when asked. Starts no process group."""

import os
from dataclasses import dataclass

import torch.distributed

from maskmill.models.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A process among those that train together."""

    rank: int
    """Which, from 0."""

    world: int
    """How many there are."""

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise UsageError(f"rank {self.rank} of {self.world}: expected 0 <= rank < world.")


def distributed() -> Place | None:
    """This process's place in torch.distributed's default group; None while that isn't initialised."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    return Place(rank=torch.distributed.get_rank(), world=torch.distributed.get_world_size())


def environment() -> Place:
    """The place that RANK and WORLD_SIZE name, as torchrun sets them; 0 of 1 where neither is set.

    Raises:
        UsageError: they are no such numbers, or several processes train and RANK isn't set.
    """
    rank, world = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    try:
        place = int(rank or 0), int(world or 1)
    except ValueError as error:
        raise UsageError(f"RANK {rank!r}, WORLD_SIZE {world!r}: expected whole numbers in these variables.") from error
    if rank is None and place[1] > 1:
        raise UsageError(
            f"WORLD_SIZE is {world} and RANK isn't set: expected both. Read the data set after torch.distributed is "
            "initialised, or pass rank= and world=."
        )
    return Place(rank=place[0], world=place[1])
