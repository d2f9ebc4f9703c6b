"""One training step: what changes and what must not, workers that share a batch, and going on from a saved state."""

import io
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from maskmill.models import zoo
from maskmill.models.san.model import San
from maskmill.models.san.untrained import FillRule
from maskmill.models.training.augmentation import augment
from maskmill.models.training.batch import TrainingBatch
from maskmill.models.training.loop import Training
from maskmill.models.training.ranks import Ranks
from maskmill.models.training.recipe import Augmentation, Recipe
from tests.models.san.tiny16 import tiny16_config

CONFIG = tiny16_config()
RECIPE = Recipe(steps=10, batch_size=4, learning_rate=1e-3, clip_norm=1.0)
KEYS = Path(__file__).parents[2] / "data" / "golden" / "san" / "keys_tiny16.json"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model(dtype: str = "float32") -> San:
    rule = FillRule(salt="loop/", overrides={"ov_classifier.logit_scale": 3.0})
    return zoo.build(CONFIG, rule.state(zoo.shapes(CONFIG)), dtype=dtype).model


def features(dtype: torch.dtype = torch.float32) -> Tensor:
    drawn = torch.randn(5, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.nn.functional.normalize(drawn, dim=-1).to(dtype)


def batch(seeds: range, classes: int = 5) -> TrainingBatch:
    """Crops of 64 x 64 with fields of classes; one pixel in nine is unlabeled."""
    from maskmill.pipeline.training.data import to_batch

    crops = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        fields = rng.integers(-1, classes, (3, 3)).repeat(32, 0).repeat(32, 1).astype(np.int32)
        from PIL import Image

        image = Image.fromarray(np.stack([fields * 40 + 60] * 3, axis=-1).astype(np.uint8))
        crops.append((*augment(image, fields, Augmentation(crop=64), seed), seed))
    return to_batch(crops)


def test_only_what_the_released_checkpoints_call_trainable_trains_and_the_rest_keeps_every_bit():
    trained = model()
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    training = Training(trained, features(), RECIPE)
    for step in range(3):
        training.advance(batch(range(4 * step, 4 * step + 4)))
    changed = {name for name, tensor in trained.state_dict().items() if not torch.equal(tensor, before[name])}
    released = json.loads(KEYS.read_text())
    expected = {name for name, (_, _, trainable) in released.items() if trainable is True}
    assert {name for name, parameter in trained.named_parameters() if parameter.requires_grad} == expected
    assert changed == expected


def test_the_loss_falls_on_a_batch_seen_again_and_again():
    training = Training(model(), features(), Recipe(steps=60, batch_size=4, learning_rate=3e-3, clip_norm=1.0))
    same = batch(range(4))
    reports = [training.advance(same) for _ in range(40)]
    assert reports[-1].total < 0.6 * reports[0].total
    assert [report.step for report in reports] == list(range(1, 41))
    assert sum(reports[0].losses.values()) == pytest.approx(reports[0].total, rel=1e-5)
    assert len(reports[0].losses) == 6


@pytest.mark.parametrize(("dtype", "near"), [("float32", 1e-4), ("float64", 1e-10)])
def test_two_workers_that_share_a_batch_do_what_one_does(dtype, near):
    kind = getattr(torch, dtype)
    alone = Training(model(dtype), features(kind), RECIPE, dtype=dtype)
    # Crops 0 and 1 have other numbers of classes than 2 and 3: means over workers must be means over masks.
    batches = [batch(range(4 * step, 4 * step + 4)) for step in range(5)]
    expected = [alone.advance(whole) for whole in batches]

    meeting = threading.Barrier(2)
    slots: list[Tensor | None] = [None, None]

    def worker(rank: int, found: list) -> None:
        def all_reduce(tensor: Tensor) -> None:
            slots[rank] = tensor.clone()
            meeting.wait(timeout=60)
            tensor.copy_(slots[0] + slots[1])
            meeting.wait(timeout=60)

        ranks = Ranks(rank=rank, size=2, all_reduce=all_reduce)
        training = Training(model(dtype), features(kind), RECIPE, dtype=dtype, ranks=ranks)
        for whole in batches:
            mine = slice(2 * rank, 2 * rank + 2)
            share = TrainingBatch(
                pixels=whole.pixels[mine],
                class_maps=whole.class_maps[mine],
                classes=whole.classes[mine],
                seeds=whole.seeds[mine],
            )
            found.append(training.advance(share))

    found: tuple[list, list] = ([], [])
    threads = [threading.Thread(target=worker, args=(rank, found[rank])) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for reports in found:
        assert [report.total for report in reports] == pytest.approx([one.total for one in expected], rel=near)
        norms = [report.gradient_norm for report in reports]
        assert norms == pytest.approx([one.gradient_norm for one in expected], rel=10 * near)


def test_a_restored_training_goes_on_bit_by_bit():
    undisturbed = Training(model(), features(), RECIPE)
    batches = [batch(range(4 * step, 4 * step + 4)) for step in range(6)]
    for one in batches[:3]:
        undisturbed.advance(one)
    file = io.BytesIO()
    torch.save(undisturbed.state(), file)
    file.seek(0)
    resumed = Training(model(), features(), RECIPE)
    resumed.restore(torch.load(file, weights_only=True))
    assert resumed.step == 3
    for one in batches[3:]:
        assert resumed.advance(one) == undisturbed.advance(one)
    for name, tensor in undisturbed.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_another_models_state_is_refused():
    state = Training(model(), features(), RECIPE).state()
    del state["model"]["ov_classifier.bg_embed"]
    with pytest.raises(ValueError, match="another model's"):
        Training(model(), features(), RECIPE).restore(state)


def test_a_batch_in_which_nothing_is_labeled_trains_the_background_alone():
    training = Training(model(), features(), RECIPE)
    empty = batch(range(2))
    bare = TrainingBatch(
        pixels=empty.pixels,
        class_maps=torch.full_like(empty.class_maps, -1),
        classes=((), ()),
        seeds=empty.seeds,
    )
    report = training.advance(bare)
    assert report.losses["loss_mask"] == 0.0
    assert report.losses["loss_ce"] > 0.0


def test_numbers_that_are_not_finite_end_the_training_with_the_model_as_it_was():
    trained = model()
    with torch.no_grad():
        trained.side_adapter_network.query_embed[0, 0] = float("nan")
    before = trained.ov_classifier.bg_embed.clone()
    with pytest.raises(FloatingPointError, match="not finite"):
        Training(trained, features(), RECIPE).advance(batch(range(2)))
    assert torch.equal(trained.ov_classifier.bg_embed, before)


def test_bfloat16_computes_nearly_what_float32_does_and_keeps_weights_in_float32():
    exact = Training(model(), features(), RECIPE).advance(batch(range(4)))
    trained = model()
    rough = Training(trained, features(), RECIPE, dtype="bfloat16").advance(batch(range(4)))
    assert rough.total == pytest.approx(exact.total, rel=0.05)
    assert rough.total != exact.total
    assert {tensor.dtype for tensor in trained.state_dict().values()} == {torch.float32}


def test_masks_are_one_a_class_and_leave_unlabeled_pixels_out():
    one = batch(range(1))
    (target,) = one.targets()
    class_map = one.class_maps[0]
    assert target.class_ids.tolist() == sorted({int(row) for row in class_map.unique() if row >= 0})
    assert torch.equal(target.masks.any(0), class_map >= 0)
    assert int(target.masks.sum()) == int((class_map >= 0).sum())
