"""What a worker's part of a training needs of a family of models: one shape for SAN and DenseCLIP. Trains nothing."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from maskmill.models.segmenter import ClassFeatures, Segmenter
from maskmill.models.training.loop import StepReport
from maskmill.models.training.ranks import Ranks
from maskmill.pipeline.evaluation.groups import Groups
from maskmill.pipeline.training.config import Identity


class Trains(Protocol):
    """A model, its optimiser, and how far they are."""

    @property
    def model(self) -> nn.Module:
        """What trains."""

    @property
    def step(self) -> int:
        """Updates done."""

    def advance(self, batch: Any, /) -> StepReport:
        """Do one update with this worker's share of a batch."""

    def state(self) -> dict[str, Any]:
        """All that the rest of the training follows from."""

    def restore(self, state: Mapping[str, Any], /) -> None:
        """Go on from what `state` gave, exactly."""


class Batches(Protocol):
    """Opens a worker's batches."""

    def __call__(self, ranks: Ranks, *, first: int, threads: int) -> AbstractContextManager[Iterator[Any]]:
        """This worker's share of batch `first` and of all that follow, without end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a worker holds beside the training itself."""

    segmenter: Segmenter
    """The model, as it labels; the training changes it in place."""

    training: Callable[[Ranks], Trains]
    """Begins."""

    batches: Batches
    """The images."""

    classes: Callable[[], ClassFeatures]
    """The whole vocabulary as the model reads it now, for validation."""

    groups: Groups
    """What validation tells of."""

    identity: Identity
    """What the result follows from."""


def with_fingerprint(identity: Identity) -> Identity:
    """An identity as train.json gives it back, with a hash over all of it."""
    stated = json.dumps(identity, sort_keys=True)
    return {**json.loads(stated), "fingerprint": hashlib.sha256(stated.encode()).hexdigest()}
