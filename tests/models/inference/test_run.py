"""What all forms share: sizes, dtypes, and logits that can't be trusted."""

import numpy as np
import pytest
import torch

from maskmill.models.errors import UsageError
from maskmill.models.inference.forms import GeneralInference, Inference, QueriesInference, SemanticInference
from maskmill.models.inference.run import goes_together, segments_of, segments_of_batch
from maskmill.models.inference.upsample import Geometry
from maskmill.models.segment import Segment
from tests.models.inference.plain_inference import Case, plain_general, random_case

FORMS = [GeneralInference(overlap_threshold=0.1), SemanticInference(), QueriesInference()]
SIZES = {
    "one pixel": {"padded": (32, 32), "size": (32, 32), "mask_size": (1, 1)},
    "a tall line": {"padded": (2560, 32), "size": (2560, 5), "mask_size": (1024, 2)},
    "a wide line": {"padded": (32, 2560), "size": (5, 2560), "mask_size": (1, 1024)},
    "larger than the input": {"padded": (64, 64), "size": (40, 61), "mask_size": (130, 200)},
}


def label(case: Case, inference: Inference, top_k: int = 5) -> list[Segment]:
    return segments_of(**case.arguments, inference=inference, top_k=top_k, soft_masks=False)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
@pytest.mark.parametrize("sizes", SIZES)
def test_odd_sizes_give_masks_of_the_size_asked_for(form: Inference, sizes: str) -> None:
    segments = label(random_case(3, **SIZES[sizes]), form)
    assert segments
    for segment in segments:
        assert segment.mask.shape == segment.mask_size == SIZES[sizes]["mask_size"]
        rows, columns = np.nonzero(segment.mask)
        assert segment.area == len(rows) > 0
        extent = columns.max() - columns.min() + 1, rows.max() - rows.min() + 1
        assert segment.bbox == (columns.min(), rows.min(), *extent)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("where", ["mask", "class"])
def test_logits_that_are_not_finite_are_one_line_and_no_segment(form: Inference, value: float, where: str) -> None:
    case = random_case(0)
    getattr(case, f"{where}_logits").view(-1)[-1] = value
    with pytest.raises(FloatingPointError, match=f"^{where} logits that are not finite$"):
        label(case, form)


def test_soft_masks_in_semantic_form_are_a_usage_error_that_names_the_forms() -> None:
    with pytest.raises(UsageError, match=r"--soft-masks.*general or queries"):
        segments_of(**random_case(0).arguments, inference=SemanticInference(), top_k=5, soft_masks=True)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
def test_bfloat16_logits_are_computed_on_in_float32(form: Inference) -> None:
    case = random_case(0, dtype=torch.bfloat16)
    widened = Case(
        **{**case.__dict__, "mask_logits": case.mask_logits.float(), "class_logits": case.class_logits.float()}
    )
    assert label(case, form) == label(widened, form)


def test_one_input_in_float64_is_enough_to_compute_in_it() -> None:
    case = random_case(0)
    mixed = Case(**{**case.__dict__, "mask_logits": case.mask_logits.float()})
    widened = Case(**{**mixed.__dict__, "mask_logits": mixed.mask_logits.double()})
    assert label(mixed, FORMS[0]) == label(widened, FORMS[0])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
def test_segments_are_repeatable_plain_values(form: Inference) -> None:
    case = random_case(1, dtype=torch.float32)
    segments = label(case, form)
    assert segments == label(case, form)
    for segment in segments:
        values = (segment.query, segment.vocab_id, segment.area, *segment.bbox, *segment.top_ids)
        assert {type(value) for value in values} == {int}
        assert {type(value) for value in (segment.score, segment.margin, *segment.top_logits)} == {float}
        assert type(segment.rle) is bytes


def test_logits_of_a_model_in_training_carry_no_gradient_into_segments() -> None:
    case = random_case(1)
    case.mask_logits.requires_grad_()
    case.class_logits.requires_grad_()
    assert label(case, FORMS[0])


def batch_of_cases(device: str = "cpu") -> tuple[list[Case], dict]:
    """Four images, of which the third has a NaN, and what `segments_of_batch` takes of them."""
    cases = [random_case(seed, queries=20, mask_size=(23 + seed, 37)) for seed in range(4)]
    cases[2].class_logits[3, 1] = float("nan")
    return cases, {
        "mask_logits": torch.stack([case.mask_logits for case in cases]).to(device),
        "class_logits": torch.stack([case.class_logits for case in cases]).to(device),
        "geometries": [Geometry(padded=case.padded, size=case.size, mask_size=case.mask_size) for case in cases],
        "stuff": cases[0].stuff,
        "top_k": 5,
    }


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
def test_a_batch_has_its_images_segments_in_their_order_and_none_for_one_that_is_not_finite(form: Inference) -> None:
    cases, arguments = batch_of_cases()
    found = segments_of_batch(**arguments, inference=form, soft_masks=False)
    assert found == [label(cases[0], form), label(cases[1], form), None, label(cases[3], form)]


def test_soft_masks_in_semantic_form_are_refused_for_a_batch_too() -> None:
    with pytest.raises(UsageError, match=r"--soft-masks.*general or queries"):
        segments_of_batch(**batch_of_cases()[1], inference=SemanticInference(), soft_masks=True)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
def test_images_go_together_on_accelerators_where_the_form_allows(form: Inference) -> None:
    assert not goes_together(torch.device("cpu"), form)
    assert goes_together(torch.device("cuda"), form) == (not isinstance(form, SemanticInference))


@pytest.mark.gpu
@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
def test_a_gpu_finds_a_batchs_segments_of_the_cpu(form: Inference) -> None:
    expected = segments_of_batch(**batch_of_cases()[1], inference=form, soft_masks=False)
    found = segments_of_batch(**batch_of_cases("cuda")[1], inference=form, soft_masks=False)
    assert [one is None for one in found] == [False, False, True, False]
    for ours, others in zip(found, expected, strict=True):
        assert [(one.query, one.vocab_id, one.rle) for one in ours or ()] == [
            (one.query, one.vocab_id, one.rle) for one in others or ()
        ]


@pytest.mark.gpu
@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
def test_a_gpu_finds_the_segments_of_the_cpu(form: Inference) -> None:
    case = random_case(2, queries=20)
    moved = Case(**{**case.__dict__, "mask_logits": case.mask_logits.cuda(), "class_logits": case.class_logits.cuda()})
    for ours, expected in zip(label(moved, form), label(case, form), strict=True):
        assert (ours.query, ours.rle, ours.top_ids) == (expected.query, expected.rle, expected.top_ids)
        assert ours.score == pytest.approx(expected.score, abs=1e-9)
    assert len(plain_general(case, 0.5, 0.1)) >= 3
