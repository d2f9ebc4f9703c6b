"""Looks after a pass of Ray Data: ends one that Ray would let go on for nothing, and keeps its memory bounded."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.operators.actor_pool_map_operator import (
    _ACTOR_STATE_ALIVE as ALIVE,
)
from ray.data._internal.execution.operators.actor_pool_map_operator import (
    _ACTOR_STATE_DEAD as DEAD,
)
from ray.data._internal.execution.operators.actor_pool_map_operator import ActorPoolMapOperator
from ray.data._internal.execution.operators.map_operator import MapOperator
from ray.data._internal.execution.streaming_executor import StreamingExecutor

from maskmill.models.errors import EnvironmentFailure
from maskmill.pipeline.ledger.tolerance import Failures

GONE_SECONDS = 30.0
"""How long every replica has to be dead for good before the job ends: those that Ray restarts are not dead."""


class Supervision(ExecutionCallback):
    """Looks at the pool of replicas at each step of Ray Data's loop; what it raises ends the pass.

    Ray Data makes it, once a pass, from `DataContext.custom_execution_callback_classes`: what it counts into is held by
    the class. Blocks whose worker died for good never come out of the stream; only Ray's own counts know of them.
    """

    failures: Failures | None = None
    """Where deaths are counted; None while no pass runs."""

    lost_by_death: float = 1.0
    """Shards that one death of a replica can account for."""

    def __init__(self) -> None:
        self._gone_since: float | None = None
        self._alive: set[Any] = set()
        self._deaths = 0

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        """Count, and raise what ends the pass.

        Raises:
            TooManyFailedError: too many shards have lost their worker.
            EnvironmentFailure: no replica is left, and none will start.
        """
        for operator in executor._topology or ():
            if isinstance(operator, MapOperator):
                # Statistics of every block, for a report that nobody reads: 4 KB a shard, 2 GB of 500,000.
                operator._output_blocks_stats.clear()
            if isinstance(operator, ActorPoolMapOperator):
                self._look(operator)

    def _look(self, operator: ActorPoolMapOperator) -> None:
        pool: Any = operator._actor_pool
        states = {actor: actor._get_local_state() for actor in pool._running_actors}
        alive = {actor for actor, state in states.items() if state == ALIVE}
        self._deaths += sum(actor in self._alive for actor, state in states.items() if state != ALIVE)
        self._alive = alive
        if self.failures is not None:
            # A machine that leaves takes a dozen shards with each replica, since Ray goes on to hand them out until it
            # has noticed: as many as deaths of replicas account for say something about shards.
            accounted = int(self._deaths * self.lost_by_death)
            self.failures.died(min(operator.metrics.num_tasks_failed, accounted))
        if pool.num_pending_actors() or set(states.values()) != {DEAD} or operator.has_completed():
            self._gone_since = None
            return
        now = time.monotonic()
        self._gone_since = now if self._gone_since is None else self._gone_since
        if now - self._gone_since >= GONE_SECONDS:
            raise EnvironmentFailure(
                "ended early: every replica failed as it was started again; their logs say why. "
                "Run the same command again: it goes on from here."
            )


@contextmanager
def supervised(failures: Failures, *, lost_by_death: float) -> Iterator[None]:
    """Passes that run in this context are ended by what `failures` says.

    Args:
        failures: counts.
        lost_by_death: shards that one death of a replica can account for.
    """
    Supervision.failures, Supervision.lost_by_death = failures, lost_by_death
    try:
        yield
    finally:
        Supervision.failures = None
