"""The Ray actor that holds one model on one device, and the task that prepares a run on the same kind of device."""

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import ray
import torch

from models.errors import EnvironmentFailure, UsageError
from models.segmenter import ClassFeatures, Segmenter
from models.vocabulary import Vocabulary
from models.zoo import load
from pipeline import ledger
from pipeline.config import LabelConfig
from pipeline.labeling import Labeler, label_shard
from pipeline.model_thread import ModelThread
from pipeline.output import Output
from pipeline.placement import Placement
from pipeline.shard import Shard
from pipeline.text import TextIdentity, ensure_text_features, load_text_features


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


class Replica:
    """One model on one device; Ray calls it from as many threads as shards may overlap."""

    def __init__(self, spec: ReplicaSpec) -> None:
        segmenter = _segmenter(spec.config, spec.placement)
        classes = ClassFeatures(
            features=load_text_features(spec.text, spec.output.url),
            stuff=torch.tensor([entry.kind == "stuff" for entry in spec.vocabulary], dtype=torch.bool),
        )
        inference = spec.config.inference
        threads = spec.placement.cpus
        self._labeler = Labeler(
            model=ModelThread(
                segmenter, classes, inference.form(), top_k=inference.top_k, soft_masks=inference.soft_masks
            ),
            decoders=ThreadPoolExecutor(threads, thread_name_prefix="decode"),
            threads=threads,
            batch_size=spec.placement.batch_size,
            config=spec.config,
            output=spec.output,
            fingerprint=spec.fingerprint,
        )

    def __call__(self, shards: pa.Table) -> pa.Table:
        """Label shards (a table of `cluster.labeling.TASKS`, one row each call) and return their rows of the ledger."""
        return ledger.to_table(label_shard(Shard(**record), self._labeler) for record in shards.to_pylist())


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
        identity = ray.get(task.remote(config, placement, output, vocabulary, templates))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        said = " ".join(str(error).split())[:300]
        raise EnvironmentFailure(f"the process that loads the model died; is there enough memory? {said}") from error
    assert isinstance(identity, TextIdentity)
    return identity


def _prepare(
    config: LabelConfig, placement: Placement, output: Output, vocabulary: Vocabulary, templates: tuple[str, ...]
) -> TextIdentity:
    if not config.replica.scratch.is_dir():
        raise UsageError(
            f"--scratch {str(config.replica.scratch)!r}: no such folder on {socket.gethostname()}. Make it there first."
        )
    segmenter = _segmenter(config, placement)
    return ensure_text_features(segmenter, vocabulary, templates, output.url, dtype=config.model.dtype)


def _segmenter(config: LabelConfig, placement: Placement) -> Segmenter:
    # Ray tells a process OMP_NUM_THREADS = 1 unless it declares CPUs; what it declares is what it may use.
    torch.set_num_threads(placement.cpus)
    return load(config.model.model, weights=config.model.weights, device=placement.device, dtype=config.model.dtype)
