"""The model that is measured: released, or made up where nothing released can be had."""

import pytest
import torch

from maskmill.models.errors import UsageError
from maskmill.models.inference.forms import GeneralInference, QueriesInference
from maskmill.models.inference.run import segments_of
from maskmill.pipeline.bench.config import BenchConfig
from maskmill.pipeline.bench.parts import input_batch
from maskmill.pipeline.bench.subject import CONFIDENT, KEPT, MadeUpLabels, made_up, made_up_logits, subject_of

SMALL = {"model": "san-tiny", "device": "cpu", "size": 64}


def test_released_weights_come_with_their_own_names() -> None:
    found = subject_of(BenchConfig(model="san-tiny", device="cpu"))
    assert (found.names, found.size, found.batch_size, found.notes) == (48, 128, 8, ())
    assert not isinstance(found.segmenter, MadeUpLabels)


def test_random_weights_are_said_to_be_and_keep_as_many_segments_as_a_photo_has() -> None:
    found = subject_of(BenchConfig(**SMALL, weights="random", batch_size=2))
    assert any("random" in note for note in found.notes)
    assert (found.names, found.size) == (171, 64)
    batch = input_batch(found.segmenter, (96, 96), (96, 96), 2)
    assert batch.pixels.shape == (2, 3, 64, 64)
    segments = found.segmenter.segment(batch, found.classes, GeneralInference())
    assert [len(one or ()) for one in segments] == [KEPT, KEPT]
    assert all(segment.kept and segment.kept > 0.8 for one in segments for segment in one or ())


def test_made_up_names_are_as_many_as_asked_for() -> None:
    found = subject_of(BenchConfig(**SMALL, names=500))
    assert found.names == 500
    assert any("500 made-up names" in note for note in found.notes)
    lengths = found.classes.features.norm(dim=-1)
    assert torch.allclose(lengths, torch.ones(500), atol=1e-5)


@pytest.mark.parametrize("names", [1, 171, 21_000])
def test_made_up_logits_don_t_depend_on_how_many_names_there_are(names: int) -> None:
    masks, classes = made_up_logits(torch.Size((100, 20, 20)), names, torch.device("cpu"))
    assert (masks.shape, classes.shape) == ((100, 20, 20), (100, names + 1))
    kept = segments_of(
        masks,
        classes,
        padded=(320, 320),
        size=(320, 320),
        mask_size=(320, 320),
        stuff=torch.zeros(names, dtype=torch.bool),
        inference=QueriesInference(),
        top_k=5,
        soft_masks=False,
    )
    assert len(kept) == CONFIDENT
    assert len(made_up(names, 8).stuff) == names


def test_a_size_that_windows_can_not_have_is_refused_before_weights_are_fetched() -> None:
    with pytest.raises(UsageError, match=r"--size 100: with --windows expected a multiple of 32 pixels\. Try 128\."):
        subject_of(BenchConfig(size=100, windows=2.0))


@pytest.mark.parametrize("model", ["sam", "denseclip-rn50"])
def test_a_model_that_has_not_these_parts_is_refused(model: str) -> None:
    with pytest.raises(UsageError, match=f"--model '{model}'.*san-vit-b16"):
        subject_of(BenchConfig(model=model))


def test_random_weights_are_held_in_the_type_in_which_labeling_holds_them() -> None:
    found = subject_of(BenchConfig(**SMALL, weights="random", dtype="bfloat16"))
    block = found.segmenter.model.clip_visual_extractor.resblocks[0]
    assert block.mlp.c_fc.weight.dtype == torch.bfloat16
    assert block.ln_1.weight.dtype == torch.float32
