from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import interpolate

from maskmill.models.errors import UsageError
from maskmill.pipeline.dataset import collate, mask2former_loss
from tests.pipeline.dataset.test_transform import quarters, sample_of

CLASSES, QUERIES = 4, 6


def model_of(points=512):
    """A Mask2Former with small layers and random weights."""
    transformers = pytest.importorskip("transformers")
    backbone = transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone, num_labels=CLASSES, num_queries=QUERIES, hidden_dim=32, feature_size=32,
        mask_feature_size=32, encoder_layers=1, decoder_layers=2, num_attention_heads=2, encoder_feedforward_dim=16,
        dim_feedforward=16, train_num_points=points,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.Mask2FormerForUniversalSegmentation(config)


def output_of(images, size, config, seed=0):
    """Random logits of three decoder layers, smooth so that it hardly matters where points fall."""
    draw = torch.Generator().manual_seed(seed)
    layers = []
    for _ in range(3):
        masks = interpolate(torch.randn(images, QUERIES, 2, 2, generator=draw) * 3, size=size, mode="bilinear")
        classes = torch.randn(images, QUERIES, CLASSES + 1, generator=draw)
        layers.append(
            {"masks_queries_logits": masks.requires_grad_(), "class_queries_logits": classes.requires_grad_()}
        )
    return SimpleNamespace(auxiliary_logits=layers[:-1], **layers[-1])


CONFIG = SimpleNamespace(
    class_weight=2.0, mask_weight=5.0, dice_weight=5.0, no_object_weight=0.1, train_num_points=2000,
    oversample_ratio=3.0, importance_sample_ratio=0.75, use_auxiliary_loss=True,
)  # fmt: skip


def unfiltered():
    """Two images that fill a batch without padding and ignore nothing."""
    one = quarters()
    other = sample_of(torch.ones(1, 40, 60, dtype=torch.bool))
    return [replace(one, ignore=torch.zeros_like(one.ignore)), other]


def test_without_ignored_pixels_it_is_transformers_own_loss():
    model = model_of(points=12544)
    samples = unfiltered()
    output = output_of(2, (40, 60), model.config)
    theirs = model.get_loss_dict(
        masks_queries_logits=output.masks_queries_logits,
        class_queries_logits=output.class_queries_logits,
        mask_labels=collate(samples, ignore=False, multiple=20)["mask_labels"],
        class_labels=[sample.class_ids for sample in samples],
        auxiliary_predictions=output.auxiliary_logits,
    )
    mine = mask2former_loss(output, collate(samples, multiple=20), model.config)
    assert mine.item() == pytest.approx(sum(theirs.values()).item(), rel=0.01)


def test_ignored_pixels_get_no_gradient_and_others_do():
    sample = quarters()
    output = output_of(1, (40, 60), CONFIG)
    mask2former_loss(output, collate([sample], multiple=20), CONFIG).backward()
    for layer in (*output.auxiliary_logits, vars(output)):
        gradient = layer["masks_queries_logits"].grad.abs().sum((0, 1))
        assert not gradient[:19, 31:].any()  # a point beside the ignored quarter reaches one pixel into it
        assert gradient[:19, :29].any()
        assert gradient[21:].any()


def test_what_lies_under_ignored_pixels_changes_nothing():
    sample = quarters()
    covered = replace(sample, masks=sample.masks | sample.ignore)
    found = []
    for one in (sample, covered):
        torch.manual_seed(3)
        found.append(
            float(mask2former_loss(output_of(1, (40, 60), CONFIG), collate([one], multiple=20), CONFIG).detach())
        )
    assert found[0] == found[1]


@pytest.mark.parametrize("mask_logits", [None, 1.0, 0.0, -10.0])
def test_a_batch_with_nothing_to_learn_teaches_nothing_and_every_output_has_a_gradient(mask_logits):
    nothing = replace(quarters(), masks=torch.zeros(0, 40, 60, dtype=torch.bool), class_ids=torch.zeros(0).long())
    output = output_of(1, (40, 60), CONFIG)
    layers = (*output.auxiliary_logits, vars(output))
    if mask_logits is not None:
        for layer in layers:
            layer["masks_queries_logits"].data.fill_(mask_logits)
    loss = mask2former_loss(output, collate([nothing], multiple=20), CONFIG)
    loss.backward()
    assert float(loss.detach()) == 0.0
    for layer in layers:
        assert not layer["masks_queries_logits"].grad.any()
        assert not layer["class_queries_logits"].grad.any()


def test_the_weights_are_those_of_the_models_configuration():
    nothing_weighs = SimpleNamespace(**{**vars(CONFIG), "class_weight": 0.0, "mask_weight": 0.0, "dice_weight": 0.0})
    output = output_of(1, (40, 60), CONFIG)
    assert float(mask2former_loss(output, collate([quarters()], multiple=20), nothing_weighs)) == 0.0


def test_a_model_trains_and_every_parameter_has_a_gradient():
    model = model_of()
    batch = collate([quarters(), *unfiltered()])
    output = model(pixel_values=batch["pixel_values"], output_auxiliary_logits=True)
    mask2former_loss(output, batch, model.config).backward()
    without = [name for name, one in model.named_parameters() if one.grad is None]
    assert all(".swin.layernorm." in name for name in without)  # the backbone does not use it


def test_the_models_own_loss_does_not_take_a_batch_that_ignores_pixels():
    """It would teach them as background; masks are bool, so that this can't go unnoticed."""
    model = model_of()
    with pytest.raises((RuntimeError, TypeError)):
        model(**collate([quarters()]))


def test_logits_of_earlier_layers_and_ignored_pixels_are_required():
    output = output_of(1, (40, 60), CONFIG)
    with pytest.raises(UsageError, match="without ignore=False"):
        mask2former_loss(output, collate([quarters()], ignore=False), CONFIG)
    output.auxiliary_logits = None
    with pytest.raises(UsageError, match="output_auxiliary_logits=True"):
        mask2former_loss(output, collate([quarters()]), CONFIG)
