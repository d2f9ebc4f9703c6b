"""Maps `label_shard` over shards with Ray Data: one shard a task, replicas in a pool. Which shards is job.py's."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import pyarrow as pa
import ray

from models.errors import EnvironmentFailure, UsageError
from pipeline import ledger
from pipeline.cluster.replica import Replica, ReplicaSpec
from pipeline.ledger import LedgerRow
from pipeline.shard import Shard

SHARDS_IN_FLIGHT = 2
"""Shards a replica works on at once: while one computes, the next is read and the last is published."""

WORKER_RETRIES = 2
"""How often a shard is tried again after the worker that held it died; Ray alone would try for ever."""

TASKS = pa.schema(
    [
        pa.field("url", pa.string()),
        pa.field("source", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("missing", pa.bool_()),
        pa.field("replace", pa.bool_()),
    ]
)
"""A shard on its way to a replica. It travels in Ray's memory only: `source` may hold what must not be stored."""


def label_shards(shards: Sequence[Shard], spec: ReplicaSpec) -> Iterator[LedgerRow]:
    """Label shards on the cluster.

    Yields:
        The ledger row of each shard, in the order in which they end. A shard whose worker died for good has none.

    Raises:
        EnvironmentFailure: replicas can't start, or the job ended early.
    """
    placement = spec.placement
    table = pa.Table.from_pylist([asdict(shard) for shard in shards], schema=TASKS)
    # Blocks are tasks: one row a block is one shard a task (a batch size of 1 wouldn't make it so).
    tasks = ray.data.from_arrow(table).repartition(target_num_rows_per_block=1)
    # A shard whose worker dies is tried again so often and then has no row: what has none is missing in the ledger.
    ray.data.DataContext.get_current().max_errored_blocks = -1
    with warnings.catch_warnings():
        # Ray 2.60 has no other name for the bound on retries, and announces that a later one will.
        warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
        rows = tasks.map_batches(
            Replica,
            fn_constructor_args=(spec,),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=placement.cpus,
            num_gpus=placement.gpus or None,
            compute=ray.data.ActorPoolStrategy(
                min_size=placement.least,
                max_size=placement.most,
                max_tasks_in_flight_per_actor=2 * SHARDS_IN_FLIGHT,
                max_concurrent_calls_per_actor=SHARDS_IN_FLIGHT,
                enable_true_multi_threading=True,
            ),
            max_task_retries=WORKER_RETRIES,
        )
    try:
        for block in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            assert isinstance(block, pa.Table), "pyarrow was asked for"
            yield from ledger.from_table(block.cast(ledger.SCHEMA))
    except (ray.exceptions.RayError, ray.exceptions.UserCodeException) as error:
        raise _failure(error) from error


def _failure(error: BaseException) -> Exception:
    """The user's error where one caused it, else that the job ended early."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UsageError | EnvironmentFailure) and not isinstance(cause, ray.exceptions.RayError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return EnvironmentFailure(f"the job ended early: {' '.join(str(error).split())[-300:]}")
