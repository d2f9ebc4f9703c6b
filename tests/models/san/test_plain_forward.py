"""The plain SAN against the authors' numbers, and ours against the plain one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from maskmill.models import zoo
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.synthesis.scene import scene
from tests.golden import model_input, segmenter_of
from tests.plain_san import PlainSan, attention, dense_mask, difference, main, scores

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "san"


@pytest.mark.parametrize(("float64", "tolerance"), [(False, 5e-5), (True, 1e-9)])
def test_the_plain_form_has_the_authors_numbers(float64: bool, tolerance: float) -> None:
    described = json.loads((GOLDEN / "tiny16.json").read_text())
    golden = np.load(GOLDEN / f"tiny16{'_f64' if float64 else ''}.npz")
    segmenter = segmenter_of(described, float64=float64)
    weights = torch.from_numpy(golden["text_weights_used" if float64 else "text_weights"])
    plain = PlainSan(segmenter.model)
    for name, images in described["cases"].items():
        inputs = model_input(segmenter, [(one["h"], one["w"], one["seed"]) for one in images])
        with torch.inference_mode():
            found = plain(inputs, weights.to(inputs.dtype))
        for key, mine in (("mask_preds", found.mask_logits), ("mask_logits", found.class_logits)):
            stored = golden[f"{name}/{key}"]
            assert mine.shape == stored.shape
            assert np.abs(mine.numpy() - stored).max() <= tolerance * np.abs(stored).max(), f"{name}/{key}"


def test_the_plain_scores_are_those_of_the_authors_code() -> None:
    described = json.loads((GOLDEN / "tiny16.json").read_text())
    golden = np.load(GOLDEN / "tiny16.npz")
    segmenter = segmenter_of(described)
    plain = PlainSan(segmenter.model)
    for name, images in described["cases"].items():
        inputs = model_input(segmenter, [(one["h"], one["w"], one["seed"]) for one in images])
        with torch.inference_mode():
            output = plain(inputs, torch.from_numpy(golden["text_weights"]))
        padded = (inputs.shape[2], inputs.shape[3])
        for index, one in enumerate(images):
            size, out = (one["h"], one["w"]), (one["out_h"], one["out_w"])
            mine, stored = scores(output, index, padded=padded, size=size, out=out), golden[f"{name}/sem_seg_{index}"]
            assert np.abs(mine.numpy() - stored).max() <= 5e-5 * np.abs(stored).max()


@pytest.mark.parametrize("index", [0, 1])
def test_our_labels_are_the_plain_ones(index: int) -> None:
    segmenter = zoo.load("san-tiny", device="cpu")
    assert isinstance(segmenter, SanSegmenter)
    found = difference(segmenter, segmenter.classes(Vocabulary.load("scenes")), scene(3, index).image)
    assert found.classes > 1
    assert max(found.mask_logits, found.class_logits) <= 1e-5
    assert found.pixels <= 0.001
    assert found.gap <= 1e-4


def test_attention_is_what_the_fused_kernel_computes() -> None:
    mixed = torch.randn(2, 7, 3 * 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    query, key, value = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in mixed.chunk(3, dim=-1))
    fused = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    assert torch.allclose(attention(mixed, 2, None), fused.transpose(1, 2).flatten(2), atol=1e-12)


def test_the_dense_mask_hides_sls_tokens_from_all_but_themselves() -> None:
    bias = torch.randn(1, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mask = dense_mask(bias, (2, 2))
    queries, whole = 3, 3 + 1 + 4
    assert mask.shape == (1, 2, whole, whole)
    assert torch.equal(mask[0, 0].diagonal()[:queries], torch.zeros(queries))
    hidden = mask[0, 0] == -100
    assert hidden[:, :queries].sum() == queries * (whole - 1)
    assert hidden[:queries, queries].all()
    assert not mask[0, 0, queries:, queries:].any()
    assert torch.equal(mask[0, 1, 2, queries + 1], bias[0, 1, 2, :2, :2].max())


def test_the_command_prints_both_by_part_and_the_largest_difference(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--model", "san-tiny", "--threads", "1", "--size", "64", "--names", "9"]
    main([*small, "--rounds", "2"])
    told = capsys.readouterr().out
    for part in ("CLIP shallow", "side ViT", "mask decoder", "recognition", "segments", "whole, general form"):
        assert part in told
    assert "largest difference" in told
    assert "pixels of another class: 0." in told
