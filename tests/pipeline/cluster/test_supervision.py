"""Passes of Ray Data that Ray alone would let go on: replicas that die at every shard, or that can't start again."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import ray

from maskmill.models.errors import EnvironmentFailure
from maskmill.pipeline.cluster import supervision
from maskmill.pipeline.cluster.supervision import Supervision, supervised
from maskmill.pipeline.ledger.tolerance import Failures, TooManyFailedError

SHARDS = 24


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="sv-", dir="/tmp")
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


class DiesAtEachShard:
    def __call__(self, shards: pa.Table) -> pa.Table:
        os._exit(1)


class StartsOnce:
    """Works, dies at the fifth shard, and never starts again."""

    def __init__(self, started: Path) -> None:
        self._worked = 0
        if started.exists():
            raise OSError("the model is gone")
        started.touch()

    def __call__(self, shards: pa.Table) -> pa.Table:
        self._worked += 1
        if self._worked == 5:
            os._exit(1)
        return shards


def run_pass(replica: type, *arguments: object) -> int:
    """Shards that came out of a pass."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = SHARDS
    context.custom_execution_callback_classes = [Supervision]
    rows = (
        ray.data.from_arrow(pa.table({"shard": range(SHARDS)}))
        .repartition(target_num_rows_per_block=1)
        .map_batches(
            replica,
            fn_constructor_args=arguments,
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=1, max_tasks_in_flight_per_actor=4),
            max_restarts=-1,
            max_task_retries=0,
        )
    )
    return sum(len(block) for block in rows.iter_batches(batch_size=None, batch_format="pyarrow"))


def cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether an error is of a kind, or came of one that is."""
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__
    return False


pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("cluster")
def test_workers_that_die_again_and_again_end_a_pass() -> None:
    with pytest.raises(Exception, match="3 of the 3 shards") as ended, supervised(Failures("2"), lost_by_death=1.0):
        run_pass(DiesAtEachShard)
    assert cause(ended.value, TooManyFailedError)


@pytest.mark.usefixtures("cluster")
def test_shards_that_no_death_accounts_for_end_no_pass() -> None:
    with supervised(Failures("2"), lost_by_death=0.0):
        assert run_pass(DiesAtEachShard) == 0


@pytest.mark.usefixtures("cluster")
def test_a_pass_without_a_replica_that_will_start_again_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "GONE_SECONDS", 1.0)
    with pytest.raises(Exception, match="every replica failed") as ended, supervised(Failures("20"), lost_by_death=1.0):
        run_pass(StartsOnce, tmp_path / "started")
    assert cause(ended.value, EnvironmentFailure)
