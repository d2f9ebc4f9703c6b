"""What trains, and what of it decays: against the published counts and the released script's groups."""

from maskmill.models.san.config import SAN_VIT_B16, SAN_VIT_L14
from maskmill.models.san.model import empty
from maskmill.models.training.optimiser import adamw, decays, trainable
from maskmill.models.training.recipe import Recipe


def test_as_many_parameters_train_as_published():
    for config, count in ((SAN_VIT_B16, 8_370_866), (SAN_VIT_L14, 9_321_650)):
        assert sum(parameter.numel() for parameter in trainable(empty(config)).values()) == count


def test_embeddings_and_the_vits_norms_do_not_decay():
    found = decays(empty(SAN_VIT_B16))
    still = sorted(name for name, decay in found.items() if not decay)
    expected = [
        "clip_visual_extractor.positional_embedding",
        "side_adapter_network.query_embed",
        "side_adapter_network.query_pos_embed",
        *(
            f"side_adapter_network.vit_model.blocks.{i}.norm{j}.{leaf}"
            for i in range(8)
            for j in (1, 2)
            for leaf in ("bias", "weight")
        ),
        "side_adapter_network.vit_model.pos_embed",
    ]
    assert still == expected
    assert found["ov_classifier.bg_embed"]
    assert found["side_adapter_network.mask_decoder.bias_scaling.weight"]


def test_the_optimiser_has_the_two_groups():
    model = empty(SAN_VIT_B16)
    optimiser = adamw(model, Recipe(weight_decay=0.05))
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.05, 0.0]
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(trainable(model))
