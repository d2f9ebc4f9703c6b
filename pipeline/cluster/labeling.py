"""Maps `label_shard` over shards with Ray Data, and sweeps up what a first pass left. Which shards is job.py's."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields

import pyarrow as pa
import ray
from ray.data._internal.logical.operators import StreamingRepartition

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline.cluster.metrics import ShardMetrics
from maskmill.pipeline.cluster.replica import Replica, ReplicaSpec
from maskmill.pipeline.cluster.supervision import Supervision, supervised
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.failure import PASSING, REQUESTS, attempts, record
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.ledger.tolerance import Failures, TooManyFailedError
from maskmill.pipeline.shards.shard import Shard

SHARDS_IN_FLIGHT = 2
"""Shards a replica works on at once: while one computes, the next is read and the last is published."""

INIT_DEATHS = 3
"""Replicas in a row that may fail as they start; Ray starts another in their place."""

_log = logging.getLogger(__name__)

TASKS = pa.schema(
    [
        pa.field("url", pa.string()),
        pa.field("source", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("missing", pa.bool_()),
        pa.field("replace", pa.bool_()),
        pa.field("attempts", pa.int32()),
    ]
)
"""A shard on its way to a replica, and how often it was given to one before. It travels in Ray's memory only: `source`
may hold what must not be stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """How shards go through the replicas."""

    in_flight: int
    """Shards that a replica works on at once."""

    queued: int
    """Shards that wait at a replica, its own included. Ray scales up only where some wait."""

    retries: int
    """How often a shard is tried again after the worker that held it died; Ray alone would try for ever."""


FIRST = Pass(in_flight=SHARDS_IN_FLIGHT, queued=2 * SHARDS_IN_FLIGHT, retries=2)
"""Every shard. One that kills its worker takes those beside it along."""

SWEEP = Pass(in_flight=1, queued=1, retries=1)
"""What the first pass lost, and what failed for a reason that may have passed: each alone on a replica."""

SWEEPS = 3
"""Sweeps at most. All but the first are for shards that weren't begun at each try: Ray gives some to machines that have
left, until it notices."""


@dataclass(kw_only=True, slots=True)
class _Left:
    """Shards without a last word."""

    shards: dict[str, Shard]
    """Those that no row came back for, and those that are held, by canonical URL."""

    tried: dict[str, int]
    """How often shards were given to a replica before the pass that comes; those that never were are left out."""

    held: dict[str, LedgerRow] = field(default_factory=dict)
    """Rows of shards that failed for a reason that may pass."""

    def end(self, row: LedgerRow) -> LedgerRow:
        """The row is its shard's last word."""
        del self.shards[row.url]
        self.held.pop(row.url, None)
        return row


def label_shards(
    shards: Sequence[Shard], spec: ReplicaSpec, *, sweeping: Callable[[int], None] = lambda shards: None
) -> Iterator[LedgerRow]:
    """Label shards on the cluster: a first pass over all, then a sweep over what it left, each shard alone.

    Args:
        shards: the shards.
        spec: what replicas are made from.
        sweeping: called before a sweep with the number of its shards.

    Yields:
        One ledger row for each shard, in the order in which they end; none for a shard that no replica ever began.

    Raises:
        TooManyFailedError: more failed than `--max-failed-shards` bears. The rest has no row.
        EnvironmentFailure: replicas can't start, or the job ended early.
        UsageError: a replica found what the user has to put right.
    """
    left = _Left(shards={shard.url: shard for shard in shards}, tried=dict(attempts(spec.output, shards)))
    failures = Failures(spec.config.job.max_failed_shards, known=frozenset(left.tried))
    tries = 1 + FIRST.retries
    try:
        with supervised(failures, lost_by_death=FIRST.queued / tries):
            for row in _pass(shards, spec, FIRST, left.tried, failures):
                if row.state == "failed" and row.reason in PASSING:
                    left.held[row.url] = row
                else:
                    yield left.end(row)
                failures.add(row.url, row.error)
    except TooManyFailedError:
        yield from left.held.values()
        raise
    for url in left.shards:
        held = left.held.get(url)
        left.tried[url] = left.tried.get(url, 0) + tries if held is None else held.attempts
    for number in range(SWEEPS):
        if left.shards:
            sweeping(len(left.shards))
            yield from _sweep(spec, left, last=number == SWEEPS - 1)
    yield from left.held.values()
    for url in left.shards.keys() - left.held.keys():
        _log.warning("%s: no replica began it; the next job will", url)


def _sweep(spec: ReplicaSpec, left: _Left, *, last: bool) -> Iterator[LedgerRow]:
    """Give each shard that is left a try, alone on its replica.

    One that was begun at each try and never ended has failed. One that wasn't lost its machine: it stays left, unless
    this is the last sweep and it was begun at all.
    """
    for row in _pass(list(left.shards.values()), spec, SWEEP, left.tried, None):
        yield left.end(row)
    with ThreadPoolExecutor(REQUESTS) as threads:
        records = threads.map(lambda shard: record(spec.output, shard), left.shards.values())
        begun = [row for row in records if row is not None and row.attempts > left.tried[row.url]]
    counted = ShardMetrics()
    for row in begun:
        if last or row.attempts > left.tried[row.url] + SWEEP.retries:
            # Replicas count what they end; whoever held this was ended.
            counted.add(row)
            yield left.end(row)
        else:
            left.tried[row.url] = row.attempts


def _pass(
    shards: Sequence[Shard], spec: ReplicaSpec, how: Pass, tried: Mapping[str, int], failures: Failures | None
) -> Iterator[LedgerRow]:
    """Ray Data over shards: the rows of those that ended. A shard whose worker died each time has none."""
    placement = spec.placement
    context = ray.data.DataContext.get_current()
    # Not Ray's business: `Supervision` ends a job whose failures aren't isolated, and what has no row is swept up.
    context.max_errored_blocks = len(shards)
    context.max_consecutive_actor_init_deaths = INIT_DEATHS
    context.custom_execution_callback_classes = [Supervision]
    tasks = _one_a_task(to_tasks(shards, tried))
    least = placement.least if how is FIRST else min(placement.most, len(shards))
    with warnings.catch_warnings():
        # Ray 2.60 has no other name for the bound on retries, and announces that a later one will.
        warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
        rows = tasks.map_batches(
            Replica,
            fn_constructor_args=(spec, how is SWEEP),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=placement.cpus,
            num_gpus=placement.gpus or None,
            compute=ray.data.ActorPoolStrategy(
                min_size=least,
                max_size=placement.most,
                max_tasks_in_flight_per_actor=how.queued,
                max_concurrent_calls_per_actor=how.in_flight,
                enable_true_multi_threading=True,
            ),
            max_restarts=-1,
            max_task_retries=how.retries,
        )
    try:
        for block in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            assert isinstance(block, pa.Table), "pyarrow was asked for"
            yield from ledger.from_table(block.cast(ledger.SCHEMA))
    except (ray.exceptions.RayError, ray.exceptions.UserCodeException) as error:
        raise _failure(error, failures) from error


def to_tasks(shards: Sequence[Shard], tried: Mapping[str, int]) -> pa.Table:
    """Shards as a table of `TASKS`; `tried` says how often, by canonical URL."""
    columns = {name.name: [getattr(shard, name.name) for shard in shards] for name in fields(Shard)}
    return pa.table(columns | {"attempts": [tried.get(shard.url, 0) for shard in shards]}, schema=TASKS)


def _one_a_task(tasks: pa.Table) -> ray.data.Dataset:
    """The table as Ray Data's blocks of one row: blocks are tasks (a batch size of 1 would not make them so)."""
    blocks = ray.data.from_arrow(tasks).repartition(target_num_rows_per_block=1)
    # The task that cuts them must not wait for a CPU: where machines have left, replicas hold all there are, and wait
    # for it in turn. `repartition` has no option for that.
    cut = blocks._logical_plan.dag
    assert isinstance(cut, StreamingRepartition), "what Ray makes of `repartition` is another thing now"
    cut.ray_remote_args["num_cpus"] = 0
    return blocks


def _failure(error: BaseException, failures: Failures | None) -> Exception:
    """The user's error where one caused it, else that the job ended early."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UsageError | EnvironmentFailure) and not isinstance(cause, ray.exceptions.RayError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    said = " ".join(str(error).split())[-300:]
    if failures is not None and isinstance(error, ray.exceptions.RayActorError):
        return TooManyFailedError(
            f"ended early: workers died again and again ({said}); the replicas' logs say of what."
        )
    return EnvironmentFailure(f"the job ended early: {said}")
