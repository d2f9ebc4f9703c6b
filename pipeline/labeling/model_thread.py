"""The one thread of a replica that owns the device: it takes batches of any shard from a bounded queue."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from maskmill.models.inference.forms import Inference
from maskmill.models.resize import ImageBatch
from maskmill.models.segment import Segment
from maskmill.models.segmenter import ClassFeatures, Finish, Segmenter
from maskmill.models.streams import Beside, Handover
from maskmill.pipeline.reading.errors import SampleError

QUEUE_BATCHES = 2
"""Batches that wait for the device: enough that it never waits, few enough that memory stays bounded."""


_Outcome = tuple[Segment, ...] | SampleError


@dataclass(frozen=True, kw_only=True, slots=True)
class Labeled:
    """What the model thread made of one batch."""

    outcomes: tuple[_Outcome, ...]
    """For each image its segments, or why that image alone could not be labeled."""

    seconds: float
    """Time that it kept the thread, waiting in the queue not counted; together no more than has gone by."""


class DeviceLostError(Exception):
    """The device failed under another shard's batch, and computes nothing any more in this process."""


@dataclass(slots=True, eq=False)
class _Job:
    """A batch on its way through the thread."""

    batch: ImageBatch
    """As it was submitted, on the host."""

    future: "Future[Labeled]"
    """What waits for it."""

    taken: float = 0.0
    """When it was taken from the queue."""

    finish: Finish | None = None
    """What is left to do; None until it was begun."""


class ModelThread:
    """Runs a segmenter on a thread of its own; compiled graphs and memory errors stay there.

    On an accelerator a batch that waits is copied over and begun before the one before it is finished, so that the
    device computes while the host makes segments. What fails ahead of its turn, for want of memory or because the batch
    before it broke the device, is tried again in its turn.

    An error that poisons the device (see `poisons`) is told to the shard whose batch met it. Every later batch, of
    whichever shard, raises `DeviceLostError`: it says nothing about that shard.

    Args:
        segmenter: the model, on its device.
        classes: what every image is asked about.
        inference: form and thresholds.
        top_k: classes and logits of each segment.
        soft_masks: whether segments keep their mask logits.
        ahead: whether a batch is begun before the one before it is finished; by default on an accelerator.
        prepare: called on the thread before its first batch, such as to compile; what it raises is raised here.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        classes: ClassFeatures,
        inference: Inference,
        *,
        top_k: int,
        soft_masks: bool,
        ahead: bool | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.segmenter = segmenter
        self._classes = classes.to(segmenter.device)
        self._inference = inference
        self._top_k = top_k
        self._soft_masks = soft_masks
        self._ahead = segmenter.device.type != "cpu" if ahead is None else ahead
        self._copying = Beside(segmenter.device)
        self._lost = False
        self._closing = False
        self._queue: queue.Queue[_Job | None] = queue.Queue(QUEUE_BATCHES)
        prepared: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(prepare, prepared), name="model", daemon=True)
        self._thread.start()
        prepared.result()

    @property
    def pinned(self) -> bool:
        """Whether batches are best built in pinned memory."""
        return self.segmenter.device.type == "cuda"

    def submit(self, batch: ImageBatch) -> "Future[Labeled]":
        """Queue a batch; blocks while the queue is full. Errors of the device come out of the future."""
        job = _Job(batch, Future())
        self._queue.put(job)
        return job.future

    def close(self) -> None:
        """End the thread once the queue is empty."""
        self._queue.put(None)
        self._thread.join()

    def _run(self, prepare: Callable[[], None] | None, prepared: "Future[None]") -> None:
        try:
            if prepare is not None:
                prepare()
        except BaseException as error:  # whoever made this thread is told
            prepared.set_exception(error)
            return
        prepared.set_result(None)
        ended = 0.0
        following: list[_Job] = []
        while (job := following.pop() if following else self._take(wait=True)) is not None:
            started = max(job.taken, ended)
            try:
                if self._lost:
                    raise DeviceLostError("the device failed under another shard")
                outcomes = self._turn(job, following)
            except BaseException as error:  # whatever it is belongs to the shard that waits
                self._lost = self._lost or poisons(error)
                ended = time.perf_counter()
                job.future.set_exception(error)
            else:
                ended = time.perf_counter()
                job.future.set_result(Labeled(outcomes=tuple(outcomes), seconds=ended - started))
            # Without this the thread would hold the last batch's memory while it waits for the next.
            del job

    def _take(self, *, wait: bool) -> _Job | None:
        """The next job; None once the thread was closed or, unless it is waited for, where there is none."""
        while not self._closing:
            try:
                job = self._queue.get(block=wait)
            except queue.Empty:
                return None
            if job is None:
                self._closing = True
            elif job.future.set_running_or_notify_cancel():
                job.taken = time.perf_counter()
                return job
        return None

    def _turn(self, job: _Job, following: list[_Job]) -> list[_Outcome]:
        """Finish a job, and meanwhile begin the one that follows it, which is added to `following`."""
        try:
            if job.finish is None:
                job.finish = self._begin(job.batch)
            if self._ahead and (after := self._take(wait=False)) is not None:
                following.append(after)
                # In its turn it is tried again, and told what went wrong.
                with suppress(BaseException):
                    after.finish = self._begin(after.batch)
            return _outcomes(job.finish())
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        # Outside the handler, where no traceback holds the failed attempt's tensors.
        job.finish = None
        crowded = any(after.finish is not None for after in following)
        for after in following:
            after.finish = None
        return self._alone(job.batch) if crowded else self._halves(job.batch)

    def _begin(self, batch: ImageBatch) -> Finish:
        """Copy a batch over beside what is computed, and tell the device to go on with it from there."""
        with self._copying():
            copied = Handover.of(batch.pixels.to(self.segmenter.device, non_blocking=True))
        (pixels,) = copied.take()
        return self.segmenter.begin(
            replace(batch, pixels=pixels),
            self._classes,
            self._inference,
            top_k=self._top_k,
            soft_masks=self._soft_masks,
        )

    def _alone(self, batch: ImageBatch) -> list[_Outcome]:
        """Label a batch while nothing else is on the device."""
        try:
            return _outcomes(self._begin(batch)())
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        return self._halves(batch)

    def _halves(self, batch: ImageBatch) -> list[_Outcome]:
        """Label a batch that doesn't fit on the device."""
        if len(batch) == 1:
            height, width = batch.pixels.shape[-2:]
            return [SampleError("out_of_memory", f"one image of {width}x{height} pixels")]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = (len(batch) + 1) // 2
        return self._alone(batch.part(0, half)) + self._alone(batch.part(half, len(batch)))


def _outcomes(found: list[list[Segment] | None]) -> list[_Outcome]:
    return [
        SampleError("not_finite", "the model's numbers for this image are not finite")
        if segments is None
        else tuple(segments)
        for segments in found
    ]


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
