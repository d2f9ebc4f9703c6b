"""The model thread: memory that runs out costs one image, everything else that goes wrong comes out of the future."""

import threading
import time
from concurrent.futures import wait

import pytest
import torch

from maskmill.models.errors import EnvironmentFailure
from maskmill.models.inference.forms import GeneralInference
from maskmill.models.resize import ImageBatch, ResizeRule
from maskmill.models.segment import Segment
from maskmill.models.segmenter import ClassFeatures, Segmenter
from maskmill.pipeline.labeling.model_thread import DeviceLostError, ModelThread, out_of_memory, poisons
from maskmill.pipeline.reading.errors import SampleError

CLASSES = ClassFeatures(features=torch.eye(2), stuff=torch.zeros(2, dtype=torch.bool))
TOO_LARGE, NOT_FINITE, BROKEN, GONE, POISON = 250, 251, 252, 253, 254


class Device(Segmenter):
    """Stands in for an accelerator of little memory; an image's first byte says who it is and what happens to it."""

    name, weights, rule = "stand-in", "", ResizeRule()
    device = torch.device("cpu")
    forms = ("general",)

    def __init__(self, fits: int = 100) -> None:
        self.fits = fits
        self.tried: list[list[int]] = []
        self.threads: set[str] = set()

    def encode_text(self, vocabulary, templates):
        raise NotImplementedError

    def segment(self, batch, classes, inference, *, top_k=5, soft_masks=False):
        names = [int(image[0, 0, 0]) for image in batch.pixels]
        self.tried.append(names)
        self.threads.add(threading.current_thread().name)
        if len(names) > self.fits or TOO_LARGE in names:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if BROKEN in names:
            raise RuntimeError("device-side assert")
        if POISON in names:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        if GONE in names:
            raise SystemExit
        return [None if name == NOT_FINITE else [segment(name)] for name in names]


class Ahead(Device):
    """The same with a queue of its own, as an accelerator has: `log` says what was begun and finished, and when."""

    def __init__(self, room: int = 100) -> None:
        super().__init__()
        self.room = room
        self.held = 0
        self.log: list[tuple[str, int]] = []
        self.finishing, self.may_finish = threading.Event(), threading.Event()

    def begin(self, batch, classes, inference, *, top_k=5, soft_masks=False):
        names = [int(image[0, 0, 0]) for image in batch.pixels]
        if POISON in names:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        if self.held + len(names) > self.room or TOO_LARGE in names:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.log.append(("begin", names[0]))
        begun = Begun(self, len(names))

        def finish():
            self.log.append(("finish", names[0]))
            self.finishing.set()
            assert self.may_finish.wait(60)
            if begun.device.held > self.fits:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return [[segment(name)] for name in names]

        return finish


class Begun:
    """Memory that a batch holds until nothing refers to it any more."""

    def __init__(self, device: Ahead, images: int) -> None:
        self.device, self.images = device, images
        device.held += images

    def __del__(self) -> None:
        self.device.held -= self.images


@pytest.fixture
def ahead():
    return Ahead()


@pytest.fixture
def early(ahead):
    """A thread that begins batches ahead of their turn."""
    made = ModelThread(ahead, CLASSES, GeneralInference(), top_k=5, soft_masks=False, ahead=True)
    yield made
    made.close()


def submitted(thread: ModelThread, device: Ahead, *batches: ImageBatch) -> list:
    """Futures of three batches: the others come when the first is about to be finished, and so the last is begun while
    the second is."""
    futures = [thread.submit(batches[0])]
    assert device.finishing.wait(60)
    futures += [thread.submit(one) for one in batches[1:]]
    device.may_finish.set()
    return futures


def segment(name: int) -> Segment:
    return Segment(
        query=name, vocab_id=0, score=0.5, margin=0.5, top_ids=(0,), top_logits=(1.0,), background_logit=0.0,
        mask_score=0.5, stability=1.0, kept=1.0, area=1, bbox=(0, 0, 1, 1), rle=b"01", mask_size=(1, 1),
    )  # fmt: skip


def batch(*names: int) -> ImageBatch:
    pixels = torch.tensor(names, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 48)
    return ImageBatch(pixels=pixels, sizes=((32, 48),) * len(names), mask_sizes=((32, 48),) * len(names))


@pytest.fixture
def device():
    return Device()


@pytest.fixture
def thread(device):
    made = ModelThread(device, CLASSES, GeneralInference(), top_k=5, soft_masks=False)
    yield made
    made.close()


def told(outcomes) -> list[int | str]:
    """Of each image its name, or the reason of its failure."""
    return [o.reason if isinstance(o, SampleError) else o[0].query for o in outcomes]


def test_outcomes_come_in_the_order_of_the_images(thread):
    labeled = thread.submit(batch(3, 1, 2)).result()
    assert told(labeled.outcomes) == [3, 1, 2]
    assert labeled.seconds >= 0


@pytest.mark.parametrize("fits", [1, 2, 3, 5])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(device, thread, fits):
    device.fits = fits
    assert told(thread.submit(batch(*range(8))).result().outcomes) == list(range(8))


@pytest.mark.parametrize("place", range(7))
def test_an_image_that_does_not_fit_alone_is_the_only_one_that_fails(device, thread, place):
    names = [1, 2, 3, 4, 5, 6, 7]
    names[place] = TOO_LARGE
    outcomes = thread.submit(batch(*names)).result().outcomes
    assert told(outcomes) == [name if name != TOO_LARGE else "out_of_memory" for name in names]
    assert "48x32" in outcomes[place].detail
    assert [TOO_LARGE] in device.tried


def test_finding_the_image_that_does_not_fit_takes_few_attempts(device, thread):
    """Two a halving: a batch of 32 is halved five times."""
    assert told(thread.submit(batch(*range(31), TOO_LARGE)).result().outcomes) == [*range(31), "out_of_memory"]
    assert len(device.tried) == 1 + 2 * 5


def test_an_image_whose_numbers_are_not_finite_fails_alone(thread):
    assert told(thread.submit(batch(1, NOT_FINITE, 2)).result().outcomes) == [1, "not_finite", 2]


@pytest.mark.parametrize(("name", "kind"), [(BROKEN, RuntimeError), (GONE, SystemExit)])
def test_what_the_device_raises_comes_out_of_the_future_and_the_thread_lives_on(thread, name, kind):
    with pytest.raises(kind):
        thread.submit(batch(1, name)).result()
    assert told(thread.submit(batch(4)).result().outcomes) == [4]


def test_an_error_in_a_half_of_a_batch_is_the_batchs_error(device, thread):
    device.fits = 2
    with pytest.raises(RuntimeError, match="device-side assert"):
        thread.submit(batch(1, 2, 3, BROKEN)).result()


def test_batches_of_many_threads_run_on_the_one_thread_that_owns_the_device(device, thread):
    results = {}

    def shard(name: int) -> None:
        results[name] = [told(thread.submit(batch(name, step)).result().outcomes) for step in range(5)]

    shards = [threading.Thread(target=shard, args=(100 + n,)) for n in range(4)]
    for one in shards:
        one.start()
    for one in shards:
        one.join()
    assert results == {100 + n: [[100 + n, step] for step in range(5)] for n in range(4)}
    assert device.threads == {"model"}


def test_closing_waits_for_what_was_submitted(device):
    thread = ModelThread(device, CLASSES, GeneralInference(), top_k=5, soft_masks=False)
    futures = [thread.submit(batch(n)) for n in range(2)]
    thread.close()
    assert not wait(futures, timeout=0).not_done


def test_poison_is_told_to_the_batch_that_met_it_and_to_no_other(device, thread):
    with pytest.raises(torch.AcceleratorError):
        thread.submit(batch(1, POISON)).result()
    tried = len(device.tried)
    for _ in range(2):
        with pytest.raises(DeviceLostError):
            thread.submit(batch(4)).result()
    assert len(device.tried) == tried, "nothing is computed on a device that is lost"


def test_a_batch_that_waits_is_begun_before_the_one_before_it_is_finished(ahead, early):
    futures = submitted(early, ahead, batch(10), batch(20), batch(30))
    assert [told(future.result().outcomes) for future in futures] == [[10], [20], [30]]
    assert ahead.log == [
        ("begin", 10), ("finish", 10), ("begin", 20), ("begin", 30), ("finish", 20), ("finish", 30),
    ]  # fmt: skip


def test_a_batch_without_room_beside_another_waits_for_its_turn(ahead, early):
    ahead.room = 5
    names = [[1, 2, 3, 4], [11, 12, 13, 14], [21, 22, 23]]
    futures = submitted(early, ahead, *(batch(*some) for some in names))
    assert [told(future.result().outcomes) for future in futures] == names
    early.close()
    assert ahead.held == 0


def test_memory_that_a_batch_ahead_holds_fails_no_image(ahead, early):
    """Segments of the first don't fit while the second is begun: the second is put back, and nothing is split."""
    ahead.fits = 4
    names = [[1, 2, 3], [11, 12, 13], [21, 22, 23]]
    futures = submitted(early, ahead, *(batch(*some) for some in names))
    assert [told(future.result().outcomes) for future in futures] == names
    assert len({name for _, name in ahead.log}) == 3, "no half was tried"


def test_an_image_that_does_not_fit_fails_alone_also_ahead_of_its_turn(ahead, early):
    futures = submitted(early, ahead, batch(1), batch(2), batch(3, TOO_LARGE))
    assert [told(future.result().outcomes) for future in futures] == [[1], [2], [3, "out_of_memory"]]


def test_poison_met_ahead_of_its_turn_is_told_to_its_own_batch(ahead, early):
    first, second, third = submitted(early, ahead, batch(1), batch(2), batch(POISON))
    assert [told(future.result().outcomes) for future in (first, second)] == [[1], [2]]
    with pytest.raises(torch.AcceleratorError):
        third.result()
    with pytest.raises(DeviceLostError):
        early.submit(batch(4)).result()


def test_seconds_of_batches_that_overlap_add_up_to_what_has_gone_by(ahead, early):
    started = time.perf_counter()
    futures = submitted(early, ahead, *(batch(name) for name in (1, 2, 3)))
    labeled = [future.result() for future in futures]
    assert sum(one.seconds for one in labeled) <= time.perf_counter() - started


def test_what_is_prepared_is_prepared_on_the_thread_that_labels(device):
    threads = []
    thread = ModelThread(
        device, CLASSES, GeneralInference(), top_k=5, soft_masks=False,
        prepare=lambda: threads.append(threading.current_thread()),
    )  # fmt: skip
    assert [one.name for one in threads] == ["model"], "before anything can be submitted"
    assert told(thread.submit(batch(1)).result().outcomes) == [1]
    thread.close()


def test_what_can_not_be_prepared_is_told_to_whoever_made_the_thread(device):
    def prepare():
        raise EnvironmentFailure("--compile: no compiler")

    with pytest.raises(EnvironmentFailure, match="no compiler"):
        ModelThread(device, CLASSES, GeneralInference(), top_k=5, soft_masks=False, prepare=prepare)
    assert not any(thread.name == "model" and thread.is_alive() for thread in threading.enumerate())


def test_closing_finishes_what_was_begun_ahead(ahead):
    thread = ModelThread(ahead, CLASSES, GeneralInference(), top_k=5, soft_masks=False, ahead=True)
    futures = submitted(thread, ahead, batch(1), batch(2), batch(3))
    thread.close()
    assert [told(future.result(timeout=0).outcomes) for future in futures] == [[1], [2], [3]]


@pytest.mark.parametrize(
    ("error", "memory", "poison"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True, False),
        (torch.AcceleratorError("CUDA error: out of memory"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, False),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), False, True),
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"), False, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"), False, True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False, True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False, False),
        (ValueError("CUDA error"), False, False),
    ],
)
def test_what_poisons_a_device_and_what_a_smaller_batch_may_cure(error, memory, poison):
    assert (out_of_memory(error), poisons(error)) == (memory, poison)
