"""The score map: pixel-text matching (section 3.2 of the paper). Cosines, without temperature."""

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models.clip.layers import full_precision


def score_map(dense: Tensor, texts: Tensor) -> Tensor:
    """Cosines of every cell with every text.

    Args:
        dense: [B, embed_dim, rows, columns], not normalised.
        texts: [B, N, embed_dim], an image's own, not normalised.

    Returns:
        [B, N, rows, columns]; float32 even under autocast.
    """
    with torch.autocast(dense.device.type, enabled=False):
        cells = functional.normalize(full_precision(dense), dim=1)
        names = functional.normalize(full_precision(texts), dim=2)
        return torch.unflatten(names @ cells.flatten(2), 2, dense.shape[2:])
