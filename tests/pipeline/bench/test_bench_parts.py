"""SAN's parts apart: on what they get in a forward pass, in the segmenter's own arithmetic."""

import pytest
import torch

from maskmill.models import zoo
from maskmill.models.inference.forms import GeneralInference
from maskmill.models.masks.rle import encode, encode_and_measure
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.pipeline.bench.constant import ConstantSegmenter
from maskmill.pipeline.bench.parts import RLE_MASKS, Parts, blobs, input_batch, written_together
from maskmill.pipeline.bench.subject import made_up

NAMES = ["input", "CLIP shallow", "side ViT", "mask decoder", "recognition", "classifier", "segments", "RLE"]


def parts_of(segmenter: SanSegmenter) -> Parts:
    batch = input_batch(segmenter, (96, 128), (96, 128), 2)
    return Parts(segmenter, batch, made_up(9, segmenter.model.config.clip.embed_dim), GeneralInference())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_each_part_runs_alone_in_the_order_of_the_model(dtype: zoo.Precision) -> None:
    segmenter = zoo.load("san-tiny", device="cpu", dtype=dtype)
    assert isinstance(segmenter, SanSegmenter)
    works = parts_of(segmenter).works()
    assert list(works) == NAMES
    for part in works.values():
        part.work()
        assert 1 <= part.images <= 2


def test_parts_give_what_the_whole_gives(tiny) -> None:
    works = parts_of(tiny).works()
    batch = input_batch(tiny, (96, 128), (96, 128), 2)
    output = tiny.logits(batch, made_up(9, tiny.model.config.clip.embed_dim))
    classifier = works["classifier"]
    assert torch.equal(classifier.work(), output.class_logits[-classifier.images :])
    assert len(works["segments"].work()) == works["segments"].images == 2


def test_measuring_leaves_no_hook_on_the_model(tiny) -> None:
    parts_of(tiny)
    assert not any(module._forward_pre_hooks for module in tiny.model.modules())


def test_blobs_share_the_plane_among_them() -> None:
    masks = blobs((60, 80), RLE_MASKS)
    assert masks.shape == (RLE_MASKS, 60, 80)
    assert torch.equal(masks.sum(0), torch.ones(60, 80, dtype=torch.int64))
    assert masks.flatten(1).any(1).all()


def test_the_constant_model_finds_run_lengths_for_every_image(tiny) -> None:
    batch = input_batch(tiny, (96, 128), (48, 64), 2)
    found = ConstantSegmenter(tiny.rule).segment(batch, made_up(1, 1), GeneralInference())
    assert [[segment.rle for segment in one or ()] for one in found] == [encode(blobs((48, 64), RLE_MASKS))] * 2


@pytest.mark.parametrize("overlap", [False, True])
def test_run_lengths_of_all_images_together_are_those_of_each(overlap: bool) -> None:
    masks = [blobs(size, RLE_MASKS) for size in ((60, 80), (48, 64), (60, 80))]
    found = written_together(masks, torch.device("cpu"), overlap=overlap)()
    assert found == [encoded for one in masks for encoded in encode_and_measure(one)]
