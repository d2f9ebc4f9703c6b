"""A replica without Ray: the threads and the model that label shards, over shards of any size. Ray's is in cluster/."""

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from pathlib import Path

import pyarrow as pa
import torch

from maskmill.models.errors import EnvironmentFailure
from maskmill.models.scratch import scratch_folder
from maskmill.models.segmenter import ClassFeatures, Segmenter
from maskmill.pipeline.bench.config import BenchConfig
from maskmill.pipeline.bench.images import write_shard
from maskmill.pipeline.bench.results import ReplicaPeak
from maskmill.pipeline.bench.timing import resident_peak
from maskmill.pipeline.config import InferenceConfig, LabelConfig, ReplicaConfig, machine_cpus
from maskmill.pipeline.labeling.labeling import Labeler, label_shard
from maskmill.pipeline.labeling.model_thread import ModelThread
from maskmill.pipeline.labeling.threads import decoders
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.output import Output
from maskmill.pipeline.processes import process_pool, result_of
from maskmill.pipeline.reading.decoding import DecodingConfig
from maskmill.pipeline.shards.shard import Shard, describe

MEMORY_IMAGE = (240, 320)
"""Height, width of JPEGs in shards that memory is measured over: small files, for it is their number that counts."""


@contextmanager
def labeler(
    segmenter: Segmenter,
    classes: ClassFeatures,
    folder: Path,
    form: InferenceConfig,
    *,
    batch_size: int,
    threads: int,
    thread: type[ModelThread] = ModelThread,
    decoding: DecodingConfig = DecodingConfig(),
) -> Iterator[Labeler]:
    """What a replica holds, with a model thread of this class; label files go to `folder`, and its threads end with the
    `with`."""
    config = LabelConfig(replica=ReplicaConfig(scratch=folder), inference=form, decoding=decoding)
    model = thread(segmenter, classes, form.form(), top_k=form.top_k, soft_masks=form.soft_masks)
    with decoders(threads) as pool:
        try:
            yield Labeler(
                model=model,
                decoders=pool,
                threads=threads,
                batch_size=batch_size,
                config=config,
                output=Output.of(str(folder / "out")),
                fingerprint="bench",
            )
        finally:
            model.close()


def label(shard: Shard, replica: Labeler) -> LedgerRow:
    """Label a shard as a job does; its row of the ledger, done.

    Raises:
        EnvironmentFailure: it failed; the line says of what.
    """
    row = label_shard(shard, replica, attempt=1)
    if row.state != "done":
        raise EnvironmentFailure(f"{shard.url} could not be labeled, so there is nothing to measure: {row.error}")
    return row


def peaks(config: BenchConfig) -> tuple[ReplicaPeak, ...]:
    """The memory of a replica over shards of the sizes asked for, each in a fresh process."""
    found = []
    for samples in config.shard_sizes:
        with process_pool(1) as pool:
            try:
                found.append(result_of(pool.submit(_peak, config, samples), "Ask for smaller --shard-sizes."))
            except KeyboardInterrupt:
                for process in active_children():
                    process.kill()  # it would work on for minutes, and be waited for
                raise
    return tuple(found)


def _peak(config: BenchConfig, samples: int) -> ReplicaPeak:
    from maskmill.pipeline.bench.subject import subject_of

    threads = config.threads or machine_cpus()
    torch.set_num_threads(threads)
    with scratch_folder(config.scratch) as folder:
        shard = describe(str(write_shard(folder / "memory.tar", MEMORY_IMAGE, samples)))
        subject = subject_of(config)
        segmenter = subject.segmenter
        form = InferenceConfig(inference=config.inference)
        if config.compile:
            segmenter.compile([segmenter.rule.padded(segmenter.rule.size(MEMORY_IMAGE))], subject.batch_size)
        with labeler(
            segmenter,
            subject.classes,
            folder,
            form,
            batch_size=subject.batch_size,
            threads=threads,
            decoding=config.decoding,
        ) as replica:
            label(shard, replica)
    on_gpu = segmenter.device.type == "cuda"
    return ReplicaPeak(
        samples=samples,
        peak_bytes=resident_peak() or 0,
        arrow_bytes=pa.default_memory_pool().max_memory(),
        device_bytes=int(torch.cuda.max_memory_allocated(segmenter.device)) if on_gpu else None,
    )
