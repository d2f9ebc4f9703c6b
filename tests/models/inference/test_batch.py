"""A whole batch against its images one by one and against loops over pixels; neighbours; how often it waits."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from maskmill.models import zoo
from maskmill.models.inference import batch as module
from maskmill.models.inference import portion, upsample
from maskmill.models.inference.batch import batched_segments
from maskmill.models.inference.forms import GeneralInference, QueriesInference
from maskmill.models.inference.run import segments_of
from maskmill.models.inference.upsample import Geometry
from maskmill.models.resize import Size, batch_of
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.segment import Segment
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.synthesis.scene import scene
from tests.models.inference.plain_inference import Case, PlainSegment, plain_general, plain_queries, random_case
from tests.models.inference.waits import Waits
from tests.plain_san import PlainSan

FORMS = [GeneralInference(overlap_threshold=0.1), QueriesInference()]
Form = GeneralInference | QueriesInference

SIZES = [((57, 90), (23, 37)), ((64, 96), (64, 96)), ((57, 90), (23, 37)), ((60, 96), (90, 51)), ((57, 90), (24, 37))]
"""Resized image and masks: two images alike, one whose masks are the input's size, larger and narrower ones."""

VECTORS = [((57, 90), (24, 36)), ((64, 96), (64, 96)), ((57, 90), (24, 36)), ((60, 96), (96, 50)), ((57, 90), (24, 40))]
"""Masks that a CPU's vectors divide. What is left over from these has another exp there, so that on a CPU, unlike on an
accelerator, the last bits of a pixel's probability depend on where in memory it lies."""

each_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For the same reason: threads divide the work where no vector ends."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def cases(seed: int, count: int = 5, sizes: Sequence[tuple[Size, Size]] = SIZES, **asked: object) -> list[Case]:
    """Images of one batch: equal padded size and vocabulary, everything else their own."""
    return [
        random_case(100 * seed + index, size=size, mask_size=masks, **{"queries": 20, **asked})
        for index, (size, masks) in zip(range(count), itertools.cycle(sizes), strict=False)
    ]


def together(batch: Sequence[Case], form: Form, *, top_k: int = 5, soft_masks: bool = False) -> dict:
    return batched_segments(
        torch.stack([case.mask_logits for case in batch]),
        torch.stack([case.class_logits for case in batch]),
        [Geometry(padded=case.padded, size=case.size, mask_size=case.mask_size) for case in batch],
        form,
        stuff=batch[0].stuff,
        top_k=top_k,
        soft_masks=soft_masks,
    )


def alone(case: Case, form: Form, *, top_k: int = 5, soft_masks: bool = False) -> list[Segment]:
    return segments_of(**case.arguments, inference=form, top_k=top_k, soft_masks=soft_masks)


def same(ours: list[Segment] | None, expected: list[Segment]) -> None:
    assert ours is not None
    assert [segment.query for segment in ours] == [segment.query for segment in expected]
    for one, other in zip(ours, expected, strict=True):
        for name in ("vocab_id", "top_ids", "top_logits", "score", "margin", "background_logit"):
            assert getattr(one, name) == getattr(other, name), name
        for name in ("area", "bbox", "rle", "mask_size", "stability", "kept"):
            assert getattr(one, name) == getattr(other, name), name
        assert one.mask_score == pytest.approx(other.mask_score, abs=1e-6)
        assert np.array_equal(one.mask_logits, other.mask_logits) or one.mask_logits is other.mask_logits is None


@each_form
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("seed", range(5))
def test_a_batch_has_the_segments_of_its_images(form: Form, dtype: torch.dtype, seed: int) -> None:
    batch = cases(seed, dtype=dtype)
    found = together(batch, form)
    assert sum(len(one) for one in found.values()) >= 10
    for index, case in enumerate(batch):
        same(found[index], alone(case, form))


@each_form
@pytest.mark.parametrize("seed", range(5))
def test_a_batch_has_the_segments_of_the_plain_formula(form: Form, seed: int) -> None:
    batch = cases(seed)
    found = together(batch, form)
    for index, case in enumerate(batch):
        plain: list[PlainSegment] = (
            plain_general(case, 0.5, 0.1) if isinstance(form, GeneralInference) else plain_queries(case, 0.5)
        )
        ours = found[index]
        assert [segment.query for segment in ours] == [segment.query for segment in plain]
        for segment, expected in zip(ours, plain, strict=True):
            assert np.array_equal(segment.mask, expected.mask)
            for name in ("kept", "mask_score", "stability", "score", "margin", "background_logit"):
                assert getattr(segment, name) == pytest.approx(getattr(expected, name), abs=1e-12), name
            assert list(segment.top_ids) == expected.top_ids


def test_the_batches_do_merge_stuff() -> None:
    """Else the tests above would say nothing about merging, nor about what a merged segment kept."""
    merged = 0
    for case in (case for seed in range(5) for case in cases(seed)):
        things = Case(**{**case.__dict__, "stuff": torch.zeros_like(case.stuff)})
        merged += len(plain_general(things, 0.5, 0.1)) - len(plain_general(case, 0.5, 0.1))
    assert merged >= 10


@each_form
@pytest.mark.parametrize("asked", [{"queries": 2}, {"names": 1}, {"names": 400}], ids=str)
def test_one_query_one_name_and_many_names_are_no_exceptions(form: Form, asked: dict[str, int]) -> None:
    batch = cases(7, **asked)
    if asked.get("queries"):
        # The second query is always sure of background: what is left is one.
        batch = [
            Case(**{**case.__dict__, "mask_logits": case.mask_logits[:1], "class_logits": case.class_logits[:1]})
            for case in batch
        ]
    found = together(batch, form)
    assert any(found.values())
    for index, case in enumerate(batch):
        same(found[index], alone(case, form))


@each_form
@pytest.mark.parametrize("top_k", [1, 3, 50])
def test_as_many_names_are_listed_as_are_asked_for(form: Form, top_k: int) -> None:
    batch = cases(3)
    found = together(batch, form, top_k=top_k)
    for index, case in enumerate(batch):
        same(found[index], alone(case, form, top_k=top_k))


@each_form
def test_soft_masks_are_those_of_the_images(form: Form) -> None:
    batch = cases(4)
    found = together(batch, form, soft_masks=True)
    assert all(segment.mask_logits is not None for one in found.values() for segment in one)
    for index, case in enumerate(batch):
        same(found[index], alone(case, form, soft_masks=True))


@each_form
def test_images_of_which_nothing_is_kept_have_no_segments(form: Form) -> None:
    batch = cases(1)
    batch[1].class_logits[:, -1] += 100  # no query is sure
    batch[3].mask_logits[:] = -5  # sure of what isn't there
    found = together(batch, form)
    assert (found[1], found[3]) == ([], [])
    for index in (0, 2, 4):
        same(found[index], alone(batch[index], form))
    nothing = [Case(**{**case.__dict__, "mask_logits": case.mask_logits.clone().fill_(-5)}) for case in batch]
    assert together(nothing, form) == {index: [] for index in range(5)}
    for case in batch:
        case.class_logits[:, -1] += 100
    assert together(batch, form) == {index: [] for index in range(5)}


@each_form
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("where", ["mask", "class"])
def test_an_image_whose_logits_are_not_finite_has_none_and_the_others_are_as_they_were(
    form: Form, value: float, where: str
) -> None:
    batch, broken = cases(2, sizes=VECTORS), cases(2, sizes=VECTORS)
    getattr(broken[1], f"{where}_logits").view(-1)[-1] = value
    expected, found = together(batch, form), together(broken, form)
    assert found.pop(1) is None
    del expected[1]
    assert found == expected


@each_form
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_an_images_numbers_are_bit_equal_whatever_its_neighbours_are(
    form: Form, dtype: torch.dtype, place: int
) -> None:
    """More masks beside it, fewer, none, of its own geometry or another, noise and NaN."""
    batch = cases(5, sizes=VECTORS, dtype=dtype)
    expected = together(batch, form)[place]
    assert len(expected) >= 2
    generator = torch.Generator().manual_seed(0)
    for seed in range(6):
        beside = cases(20 + seed, sizes=VECTORS, dtype=dtype)
        for index, case in enumerate(beside):
            if seed == 0:
                case.mask_logits.fill_(float("nan"))
            elif seed == 1:
                case.mask_logits.copy_(torch.randn(case.mask_logits.shape, generator=generator) * 9)
                case.class_logits[:, index] += 40  # every query is sure
            elif seed == 2:
                case.class_logits[:, -1] += 40  # none is
            elif seed == 3:
                case.size, case.mask_size = batch[place].size, batch[place].mask_size
        beside[place] = batch[place]
        assert together(beside, form)[place] == expected


@each_form
@pytest.mark.usefixtures("one_thread")
def test_how_the_work_is_cut_changes_no_bit(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = cases(6, count=8, sizes=VECTORS, dtype=torch.float32)
    expected = together(batch, form)
    for chunk, planes, classes in ((1 << 17, 1 << 29, 1), (1 << 20, 1, 1 << 27), (1 << 17, 5_000, 300)):
        monkeypatch.setattr(portion, "GPU_BAND_ELEMENTS", chunk)
        monkeypatch.setattr(module, "PLANE_PIXELS", planes)
        monkeypatch.setattr(module, "CLASS_ELEMENTS", classes)
        monkeypatch.setattr(portion, "CLASS_ELEMENTS", classes)
        assert together(batch, form) == expected


@each_form
@pytest.mark.usefixtures("one_thread")
def test_an_image_that_is_too_large_to_be_held_is_left_to_bands(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = cases(6, sizes=VECTORS)
    batch[1].mask_size = (640, 960)
    expected = together(batch, form)
    monkeypatch.setattr(module, "GPU_BAND_ELEMENTS", 640 * 960 - 1)
    found = together(batch, form)
    assert sorted(found) == [0, 2, 3, 4]
    assert all(found[index] == expected[index] for index in found)
    assert upsample.GPU_BAND_ELEMENTS > 1024 * 1024 * 50, "masks of 1,024 pixels a side stay together"


@each_form
@pytest.mark.parametrize("soft_masks", [False, True])
def test_how_often_a_batch_waits_for_the_device_does_not_grow_with_its_images(form: Form, soft_masks: bool) -> None:
    """Which queries are kept, how many runs there are, the numbers to decide on, what was written."""
    seen = []
    for count in (1, 5, 25):
        batch = cases(8, count=count)
        if count > 1:
            batch[0].mask_logits[:] = float("nan")
        with Waits() as waits:
            found = together(batch, form, soft_masks=soft_masks)
        assert any(found.values())
        seen.append([name for name in waits.seen if name != "numpy"])
        # Of these one is the flags of stuff, which live on the host.
        assert waits.seen.count("numpy") <= 4
    assert seen == [["nonzero"]] * 3


@pytest.mark.gpu
@each_form
@pytest.mark.parametrize("soft_masks", [False, True])
def test_on_a_gpu_nothing_waits_unseen_and_segments_are_the_cpus(form: Form, soft_masks: bool) -> None:
    """CUDA's own count of waits: the search for runs; arrays are fetched by copies and waits that it knows of."""
    batch = cases(9, count=25)
    expected = together(batch, form, soft_masks=soft_masks)
    moved = [
        Case(**{**case.__dict__, "mask_logits": case.mask_logits.cuda(), "class_logits": case.class_logits.cuda()})
        for case in batch
    ]
    together(moved, form, soft_masks=soft_masks)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchronizing") as warned:
            found = together(moved, form, soft_masks=soft_masks)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([one for one in warned if "synchronizing" in str(one.message)]) <= 2
    for index, segments in expected.items():
        assert [(one.query, one.rle, one.top_ids) for one in found[index]] == [
            (one.query, one.rle, one.top_ids) for one in segments
        ]
        for ours, other in zip(found[index], segments, strict=True):
            assert ours.score == pytest.approx(other.score, abs=1e-9)
            assert ours.mask_score == pytest.approx(other.mask_score, abs=1e-9)


@pytest.mark.gpu
@each_form
def test_on_a_gpu_neighbours_change_no_bit(form: Form) -> None:
    batch, beside = cases(5, dtype=torch.float32), cases(20, dtype=torch.float32)
    beside[2] = batch[2]
    first, second = (
        together(
            [
                Case(**{**one.__dict__, "mask_logits": one.mask_logits.cuda(), "class_logits": one.class_logits.cuda()})
                for one in some
            ],
            form,
        )
        for some in (batch, beside)
    )
    assert first[2] == second[2]


@each_form
def test_a_batch_of_the_models_images_has_the_segments_of_the_plain_model_and_formula(form: Form) -> None:
    """From pixels on: SAN in its plainest form, then loops over pixels."""
    segmenter = zoo.load("san-tiny", device="cpu")
    assert isinstance(segmenter, SanSegmenter)
    classes = segmenter.classes(Vocabulary.load("scenes"))
    pictures = [scene(3, index).image for index in range(2)]
    sizes = [(70, 93), (96, 96)]
    batch = batch_of(pictures, sizes, segmenter.rule)
    with torch.inference_mode():
        plain = PlainSan(segmenter.model)(
            segmenter.normalised(batch.pixels, batch.sizes),
            segmenter.model.ov_classifier.class_weights(classes.features),
        )
        output = segmenter.logits(batch, classes)
    padded = (batch.pixels.shape[-2], batch.pixels.shape[-1])
    found = batched_segments(
        output.mask_logits,
        output.class_logits,
        [Geometry(padded=padded, size=batch.sizes[index], mask_size=sizes[index]) for index in range(2)],
        form,
        stuff=classes.stuff,
        top_k=5,
        soft_masks=False,
    )
    for index in range(2):
        case = Case(
            mask_logits=plain.mask_logits[index],
            class_logits=plain.class_logits[index],
            stuff=classes.stuff,
            padded=padded,
            size=batch.sizes[index],
            mask_size=sizes[index],
        )
        expected = plain_general(case, 0.5, 0.1) if isinstance(form, GeneralInference) else plain_queries(case, 0.5)
        assert len(expected) >= 2
        assert [(one.query, one.vocab_id) for one in found[index]] == [(one.query, one.vocab_id) for one in expected]
        for segment, other in zip(found[index], expected, strict=True):
            assert (segment.mask & other.mask).sum() >= 0.999 * (segment.mask | other.mask).sum()
            assert segment.score == pytest.approx(other.score, abs=1e-4)
            assert segment.mask_score == pytest.approx(other.mask_score, abs=1e-3)
