"""The one thread of a replica that owns the device: it takes batches of any shard from a bounded queue."""

import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass

import torch

from models.inference.forms import Inference
from models.resize import ImageBatch
from models.segment import Segment
from models.segmenter import ClassFeatures, Segmenter
from pipeline.reading.errors import SampleError

QUEUE_BATCHES = 2
"""Batches that wait for the device: enough that it never waits, few enough that memory stays bounded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labeled:
    """What the model thread made of one batch."""

    outcomes: tuple[tuple[Segment, ...] | SampleError, ...]
    """For each image its segments, or why that image alone could not be labeled."""

    seconds: float
    """Time on the device, waiting in the queue not counted."""


class DeviceLostError(Exception):
    """The device failed under another shard's batch, and computes nothing any more in this process."""


class ModelThread:
    """Runs a segmenter on a thread of its own; compiled graphs and memory errors stay there.

    An error that poisons the device (see `poisons`) is told to the shard whose batch met it. Every later batch, of
    whichever shard, raises `DeviceLostError`: it says nothing about that shard.
    """

    def __init__(
        self, segmenter: Segmenter, classes: ClassFeatures, inference: Inference, *, top_k: int, soft_masks: bool
    ) -> None:
        self.segmenter = segmenter
        self._classes = classes.to(segmenter.device)
        self._inference = inference
        self._top_k = top_k
        self._soft_masks = soft_masks
        self._lost = False
        self._queue: queue.Queue[tuple[ImageBatch, Future[Labeled]] | None] = queue.Queue(QUEUE_BATCHES)
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, batch: ImageBatch) -> "Future[Labeled]":
        """Queue a batch; blocks while the queue is full. Errors of the device come out of the future."""
        future: Future[Labeled] = Future()
        self._queue.put((batch, future))
        return future

    def close(self) -> None:
        """End the thread once the queue is empty."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            batch, future = job
            if not future.set_running_or_notify_cancel():
                continue
            started = time.perf_counter()
            try:
                if self._lost:
                    raise DeviceLostError("the device failed under another shard")
                outcomes = self._label(batch)
            except BaseException as error:  # whatever it is belongs to the shard that waits
                self._lost = self._lost or poisons(error)
                future.set_exception(error)
            else:
                future.set_result(Labeled(outcomes=tuple(outcomes), seconds=time.perf_counter() - started))
            # Without this the thread would hold the last batch's memory while it waits for the next.
            del job, batch, future

    def _label(self, batch: ImageBatch) -> list[tuple[Segment, ...] | SampleError]:
        try:
            found = self.segmenter.segment(
                batch, self._classes, self._inference, top_k=self._top_k, soft_masks=self._soft_masks
            )
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if len(batch) == 1:
                return [
                    SampleError(
                        "out_of_memory", f"one image of {batch.pixels.shape[-1]}x{batch.pixels.shape[-2]} pixels"
                    )
                ]
        else:
            return [
                SampleError("not_finite", "the model's numbers for this image are not finite")
                if segments is None
                else tuple(segments)
                for segments in found
            ]
        # Outside the handler, where no traceback holds the failed attempt's tensors.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = (len(batch) + 1) // 2
        return self._label(batch.part(0, half)) + self._label(batch.part(half, len(batch)))


_MEMORY = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""Marks of memory that ran out outside torch's allocator, in errors that have no type of their own."""

_POISON = ("CUDA error", "CUDA driver error", "cuBLAS error", "CUBLAS_STATUS_", "cuDNN error", "CUDNN_STATUS_")
"""Marks of a failed launch or kernel in errors that are only RuntimeErrors."""


def out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may do: memory ran out, and nothing else is wrong with the device."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _MEMORY)


def poisons(error: BaseException) -> bool:
    """Whether an error leaves the device unusable for this process, whatever is computed next.

    An illegal access, a failed assertion in a kernel, an uncorrectable memory error: CUDA says the same of every later
    call of the process. Memory that ran out is no poison.
    """
    if out_of_memory(error):
        return False
    if isinstance(error, torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _POISON)
