"""The Ray actor that holds one model on one device, and the task that prepares a run on the same kind of device."""

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import torch

from maskmill.models import scratch
from maskmill.models.agreement.segmenter import with_agreement
from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.resize import usual_sizes
from maskmill.models.segmenter import ClassFeatures, Segmenter
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.zoo import load
from maskmill.pipeline import logs
from maskmill.pipeline.cluster.metrics import ReplicaMetrics
from maskmill.pipeline.config import LabelConfig
from maskmill.pipeline.labeling.labeling import Labeler, label_shard
from maskmill.pipeline.labeling.model_thread import DeviceLostError, ModelThread
from maskmill.pipeline.labeling.placement import Placement
from maskmill.pipeline.labeling.preflight import check_scratch
from maskmill.pipeline.labeling.threads import decoders
from maskmill.pipeline.labeling.watchdog import LAST_WORDS_SECONDS, InFlight, Watchdog, bounded, end_process
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.failure import recorded
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.errors import ShardError
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores import stores
from maskmill.pipeline.stores.errors import OutputError
from maskmill.pipeline.stores.stores import Stores
from maskmill.pipeline.text import TextIdentity, ensure_text_features, load_text_features

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaSpec:
    """Everything a replica is made from."""

    config: LabelConfig
    """The run's configuration."""

    placement: Placement
    """CPUs, device and batch size."""

    output: Output
    """Where label files go."""

    vocabulary: Vocabulary
    """The run's base vocabulary."""

    text: TextIdentity
    """Names the text features in OUT/text."""

    fingerprint: str
    """The run's fingerprint."""

    stores: Stores
    """How the stores are asked."""


RETRY_SECONDS = (5.0, 20.0, 60.0, 120.0)
"""Pauses between tries to load the model again in a process that Ray restarted, until it is given up."""


CLEAN_SECONDS = 30.0
"""How long the cleaning of scratch may take at a job's end."""


class Replica:
    """One model on one device; Ray calls it from as many threads as shards may overlap."""

    def __init__(self, spec: ReplicaSpec, alone: bool = False) -> None:
        """
        Args:
            spec: what it is made from.
            alone: whether it holds one shard at a time, and puts on record that it began it: should the process die,
                that shard was the cause.
        """
        self._alone = alone
        logs.configure()
        stores.use(spec.stores)
        self._metrics = ReplicaMetrics()
        # What a replica before this one left when it was killed.
        scratch.clean(spec.config.replica.scratch)
        self._output = spec.output
        self._watchdog = Watchdog(spec.config.replica.stall_seconds, self._stalled)
        self._labeler = self._loaded(spec)
        self._watchdog.start()

    def __call__(self, shards: pa.Table) -> pa.Table:
        """Label shards (a table of `cluster.labeling.TASKS`, one row each call) and return their rows of the ledger."""
        try:
            retries = _retries()
            rows = []
            for task in shards.to_pylist():
                attempt = 1 + task.pop("attempts") + retries
                rows.append(self._label(Shard(**task), attempt))
            return ledger.to_table(rows)
        except Exception:
            # `label_shard` has an answer to all that a shard may do: this is a mistake of ours. Ray Data would pass
            # over it in silence; a death is counted.
            _log.exception("a mistake outside of any shard")
            end_process("a mistake outside of any shard")

    def _label(self, shard: Shard, attempt: int) -> LedgerRow:
        with self._watchdog.watching(shard, attempt), logs.about(shard.url, attempt):
            logs.began()
            self._metrics.began()
            if self._alone:
                self._record(
                    shard, attempt, ShardError("crashed", "its labeling began, alone on a worker, and never ended")
                )
            try:
                row = label_shard(shard, self._labeler, attempt=attempt)
            except DeviceLostError:
                # The call whose batch met the fault ends this process as soon as that is on record; Ray then tries this
                # shard again. An answer, or an error, would be this shard's last.
                threading.Event().wait(LAST_WORDS_SECONDS)
                end_process("the device failed under another shard")
            logs.ended(row)
            self._metrics.ended(row)
            if row.reason == "device":
                end_process(f"{shard.url}: {row.error}")
            return row

    def _stalled(self, shards: list[InFlight], silent: float) -> None:
        """Leave a record of shards that hang, and end this process."""
        error = ShardError("stalled", f"no progress for {silent:.0f} s")
        for entry in shards:
            with logs.about(entry.shard.url, entry.attempt):
                _log.error("%s", error)
            bounded(partial(self._record, entry.shard, entry.attempt, error))
        end_process(str(error))

    def _record(self, shard: Shard, attempt: int | None, error: ShardError) -> None:
        """Put on record that a shard failed, should this process not come to it later."""
        row = LedgerRow(
            url=shard.url,
            size=shard.size,
            etag=shard.etag,
            state="failed",
            error=str(error),
            replica=self._labeler.replica,
            ended=datetime.now(UTC),
        )
        try:
            recorded(row, shard, self._output, attempt=attempt)
        except (OutputError, UsageError):
            _log.exception("failed/ can't be brought up to date")

    def _loaded(self, spec: ReplicaSpec) -> Labeler:
        """The model on its device.

        An error of the first start is told at once, and Ray starts another replica in this one's place. One that Ray
        restarts must not fail so: Ray Data would wait for it for ever. It tries for some minutes.
        """
        for pause in RETRY_SECONDS:
            try:
                return _labeler(spec, self._watchdog)
            except Exception:
                if not ray.get_runtime_context().was_current_actor_reconstructed:
                    raise
                _log.exception("the model can't be loaded again; next try in %d s", pause)
                time.sleep(pause)
        return _labeler(spec, self._watchdog)


def _labeler(spec: ReplicaSpec, watchdog: Watchdog) -> Labeler:
    segmenter = with_agreement(_segmenter(spec.config, spec.placement), spec.config.inference.views)
    classes = ClassFeatures(
        features=load_text_features(spec.text, spec.output.url),
        stuff=torch.tensor([entry.kind == "stuff" for entry in spec.vocabulary], dtype=torch.bool),
    )
    inference = spec.config.inference
    threads = spec.placement.cpus
    prepare = None
    if spec.config.replica.compile:
        prepare = partial(segmenter.compile, usual_sizes(segmenter.rule), spec.placement.batch_size)
    return Labeler(
        model=ModelThread(
            segmenter,
            classes,
            inference.form(spec.config.form),
            top_k=inference.top_k,
            soft_masks=inference.soft_masks,
            prepare=prepare,
        ),
        decoders=decoders(threads),
        threads=threads,
        batch_size=spec.placement.batch_size,
        config=spec.config,
        output=spec.output,
        fingerprint=spec.fingerprint,
        alive=watchdog.feed,
    )


def _retries() -> int:
    """How often Ray has tried the running task before: after a worker's or a node's death."""
    # Ray has no public name for it; without it attempts that left no record, such as a SIGKILL, would not be counted.
    worker: Any = ray._private.worker.global_worker
    return int(worker.core_worker.get_current_task_attempt_number())


def prepare(
    config: LabelConfig, placement: Placement, output: Output, vocabulary: Vocabulary, templates: tuple[str, ...]
) -> TextIdentity:
    """Load the model once, on a replica's kind of device, and leave the run's text features in OUT/text.

    Returns:
        Their identity; the weights' hash in it goes into the run's.

    Raises:
        UsageError: a wrong checkpoint, a device that isn't there, a prompt that is too long, no folder for scratch.
        EnvironmentFailure: the checkpoint can't be fetched, or the process that loads it dies.
    """
    task = ray.remote(num_cpus=placement.cpus, num_gpus=placement.gpus, max_retries=2)(_prepare)
    try:
        identity = ray.get(task.remote(stores.used(), config, placement, output, (vocabulary, templates)))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        said = " ".join(str(error).split())[:300]
        raise EnvironmentFailure(f"the process that loads the model died; is there enough memory? {said}") from error
    assert isinstance(identity, TextIdentity)
    return identity


def _prepare(
    options: Stores,
    config: LabelConfig,
    placement: Placement,
    output: Output,
    asked: tuple[Vocabulary, tuple[str, ...]],
) -> TextIdentity:
    stores.use(options)
    check_scratch(config)
    segmenter = _segmenter(config, placement)
    if config.replica.compile:
        # Replicas compile; here it is only seen whether they can.
        segmenter.compile((), placement.batch_size)
    return ensure_text_features(segmenter, *asked, output.url, dtype=config.model.dtype)


def clean_nodes(folder: Path) -> None:
    """Remove from scratch, on every machine of the cluster, what replicas left that were killed; best effort."""
    task = ray.remote(num_cpus=0, max_retries=0)(scratch.clean)
    here = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    sent = [task.options(scheduling_strategy=affinity(node, soft=False)).remote(folder) for node in here]
    cleaned, late = ray.wait(sent, num_returns=len(sent), timeout=CLEAN_SECONDS)
    for answer in cleaned:
        try:
            ray.get(answer)
        except ray.exceptions.RayError as error:  # its machine may have left; the next replica there cleans
            _log.warning("scratch could not be cleaned: %s", error)
    if late:
        _log.warning("scratch of %d machines was not cleaned in %d s", len(late), CLEAN_SECONDS)


def _segmenter(config: LabelConfig, placement: Placement) -> Segmenter:
    # Ray tells a process OMP_NUM_THREADS = 1 unless it declares CPUs; what it declares is what it may use.
    torch.set_num_threads(placement.cpus)
    made = load(
        config.model.model,
        weights=config.model.weights,
        device=placement.device,
        dtype=config.model.dtype,
        windows=config.inference.windows,
    )
    if made.device.type == "cuda":
        # A device that fails at its first product shall take no shard with it.
        numbers = torch.ones(256, 256, device=made.device)
        (numbers @ numbers).sum().item()
    return made
