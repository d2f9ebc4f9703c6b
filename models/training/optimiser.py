"""AdamW with SAN's groups of parameters. The schedule is the recipe's."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import AdamW

from maskmill.models.san.model import San
from maskmill.models.training.recipe import Recipe

EMBEDDINGS = ("positional_embedding", "pos_embed", "query_embed", "query_pos_embed")
"""Last parts of names that never decay, beside the ViT's norms. The background embedding decays, as published."""


def trainable(model: San) -> dict[str, nn.Parameter]:
    """The parameters that train, by name, in the order of their names."""
    return {name: p for name, p in sorted(model.named_parameters()) if p.requires_grad}


def decays(model: San) -> dict[str, bool]:
    """Whether each parameter that trains decays.

    Source: SAN's released training script and configuration (weight decay 0 on embeddings; detectron2's 0 on norms).
    """
    norms = {
        f"{name}.{leaf}"
        for name, module in model.named_modules()
        # Fusion's norms decay: the released code has a class of its own for them, which its rule doesn't know.
        if isinstance(module, nn.LayerNorm) and ".input_proj." not in name
        for leaf, _ in module.named_parameters(recurse=False)
    }
    return {name: name not in norms and name.rpartition(".")[2] not in EMBEDDINGS for name in trainable(model)}


def adamw(model: San, recipe: Recipe) -> AdamW:
    """The optimiser of a model's trainable parameters: those that decay, then those that don't."""
    parameters, decay = trainable(model), decays(model)

    def those(wanted: bool) -> Iterable[nn.Parameter]:
        return [parameter for name, parameter in parameters.items() if decay[name] is wanted]

    groups = [
        {"params": those(True), "weight_decay": recipe.weight_decay},
        {"params": those(False), "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=torch.tensor(recipe.learning_rate).item(), fused=False)
