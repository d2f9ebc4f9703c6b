"""From text features of prompts to one feature a class: pure arithmetic on tensors, no text tower."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def average(features: Tensor, owners: Sequence[int]) -> Tensor:
    """One normalised feature a class.

    Each prompt's feature is normalised, a name's are averaged over its templates and normalised again; a class with
    synonyms averages its names' features and normalises once more. A class with one name is untouched by the last step,
    so its feature is the one that the released numbers use.

    Args:
        features: float [M x T, D], raw features of `prompts.prompts`' sentences, in their order; any device.
        owners: M vocabulary ids, ascending from 0, each at least once.

    Returns:
        [N, D] of the same dtype and device, each row normalised.

    Source: SAN, PredefinedOvClassifier (templates); the mean over synonyms is ours.
    """
    names = len(owners)
    assert features.shape[0] % max(1, names) == 0, "prompts() gives each name the same number of sentences"
    unit = functional.normalize(features, dim=-1).view(names, -1, features.shape[-1])
    by_name = functional.normalize(unit.mean(dim=1), dim=-1)
    owner = torch.tensor(owners, device=features.device)
    counts = torch.bincount(owner)
    assert bool((counts > 0).all()), "a class without a name"
    if bool((counts == 1).all()):
        return by_name
    # A slice for each class, not index_add_, which adds in no fixed order on a GPU.
    groups = torch.split(by_name, counts.tolist())
    return torch.cat(
        [
            group if len(group) == 1 else functional.normalize(group.mean(dim=0, keepdim=True), dim=-1)
            for group in groups
        ]
    )
