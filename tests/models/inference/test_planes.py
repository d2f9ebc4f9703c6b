"""Label planes and tallies against loops of NumPy, and that nothing here waits for a device or mixes two."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from maskmill.models.inference.layout import layout_of
from maskmill.models.inference.planes import Planes, measured
from maskmill.models.inference.portion import _classes
from maskmill.models.inference.statistics import sure
from maskmill.models.inference.upsample import Geometry, turned
from maskmill.models.masks.label_planes import PlaneRuns, plane_runs, written
from tests.models.inference.plain_inference import plain_upsample, random_case, sigmoid

GEOMETRY = Geometry(padded=(64, 96), size=(57, 90), mask_size=(23, 37))


def drawn(planes: int, slots: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(planes * 10 + slots)
    logits = torch.randn(planes, slots, 7, 9, generator=generator, dtype=torch.float64) * 3
    return logits.to(dtype), torch.rand(planes, slots, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("slots", [1, 2, 6])
def test_a_pixel_is_its_winners_where_it_is_in_the_winners_mask(slots: int) -> None:
    logits, weights = drawn(3, slots)
    labels, tallies = measured(logits, weights, torch.tensor(slots))
    for plane in range(3):
        probability = sigmoid(logits[plane].numpy())
        winner = (weights[plane].numpy()[:, None, None] * probability).argmax(0)
        own = np.take_along_axis(probability, winner[None], 0)[0] >= 0.5
        assert np.array_equal(labels[plane], np.where(own, winner, slots))
        for slot in range(slots):
            mask = probability[slot] >= 0.5
            assert tallies[plane, slot, :3].tolist() == [
                mask.sum(),
                (logits[plane, slot] >= 1).sum(),
                (logits[plane, slot] >= -1).sum(),
            ]
            assert tallies[plane, slot, 3].item() == pytest.approx(probability[slot][mask].sum(), abs=1e-12)


def test_a_slot_of_no_weight_behind_the_others_holds_nothing_even_where_all_vanish() -> None:
    logits = torch.full((1, 3, 2, 2), -1e6)
    assert (measured(logits, torch.tensor([[0.5, 0.0, 0.0]]), torch.tensor(3))[0] == 3).all()
    logits[0, 1:] = 9.0
    logits[0, 0, 0, 0] = 1.0
    assert measured(logits, torch.tensor([[0.5, 0.0, 0.0]]), torch.tensor(3))[0].flatten().tolist() == [0, 3, 3, 3]


@pytest.mark.parametrize("seed", range(3))
def test_sums_of_float32_probabilities_are_exact_so_that_their_order_does_not_matter(seed: int) -> None:
    logits = torch.randn(1, 1, 301, 203, generator=torch.Generator().manual_seed(seed)) * 4
    probabilities = logits.sigmoid()
    own = probabilities[probabilities >= 0.5]
    exact = sum(int(value * 2**24) for value in own.double().tolist())
    assert all(float(value * 2**24).is_integer() for value in own.double().tolist())
    assert int(measured(logits, torch.ones(1, 1), torch.tensor(1))[1][0, 0, 3].item() * 2**24) == exact


def test_turned_masks_are_the_published_order_with_rows_and_columns_changed_over() -> None:
    case = random_case(0)
    full = turned(case.mask_logits, GEOMETRY)
    np.testing.assert_allclose(full.numpy(), plain_upsample(case).transpose(0, 2, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("names", [1, 7, 300])
def test_on_an_accelerator_nothing_waits_but_the_search_for_runs(names: int) -> None:
    """Tensors that have a device and a shape and no numbers: whoever asks them for one raises, as does what mixes the
    host's and the accelerator's."""
    layout = layout_of(np.array([0, 1, 2, 11, 12, 20]), np.array([0, 0, 0, 1, 1, 2]), [GEOMETRY] * 3, 1 << 13)
    assert len(layout.chunks) > 1
    with FakeTensorMode():
        device = torch.device("cuda")

        def whole(*shape: int) -> torch.Tensor:
            return torch.empty(shape, dtype=torch.int64, device=device)

        mask_logits, class_logits = torch.empty(30, 4, 6, device=device), torch.empty(30, names + 1, device=device)
        assert sure(class_logits, 0.5).device.type == "cuda"
        rows = whole(6)
        classes = _classes(class_logits, rows, 5)
        planes = Planes(
            mask_logits,
            torch.float32,
            layout,
            rows=rows,
            slots=whole(len(layout.slots)),
            scores=classes[:, -3].float(),
            measure=measured,
        )
        assert planes.labels.shape == (3 * 23 * 37,)
        members = torch.empty(2, layout.labels, dtype=torch.bool, device=device)
        assert planes.shared(layout.chunks[0], whole(2), whole(2), members).shape == (2,)
        with pytest.raises(DynamicOutputShapeException):
            plane_runs(planes.labels, whole(3))
        runs = PlaneRuns(starts=whole(50), ends=whole(50), planes=whole(50), labels=whole(50))
        assert runs.pixels(3, layout.labels).device.type == "cuda"
        told = written(
            runs, whole(3, layout.labels), firsts=whole(4), pixels=whole(4), heights=whole(4), longest=23 * 37
        )
        assert (told.numbers.shape, told.text.device.type) == ((4, 5), "cuda")
