"""Region accuracy: how often a frozen CLIP names what a true mask shows, read as SAN reads it. Trains nothing.

It says before a side adapter is trained what SAN can reach: the adapter learns where to look, never what is there.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models.san.model import San
from maskmill.models.training.contrastive import OUTSIDE


@torch.no_grad()
def region_logits(model: San, images: Tensor, masks: Sequence[Tensor], features: Tensor) -> Tensor:
    """Class logits of regions under true masks.

    Args:
        model: whose CLIP is asked.
        images: [B, 3, side, side] at CLIP's resolution, normalised.
        masks: for each image bool [R, H, W], R regions, the same number for all (pad with empty ones).
        features: [N, embed_dim], normalised.

    Returns:
        [B, R, N].
    """
    vision = model.config.clip.vision_cfg
    clip = model.clip_visual_extractor(images)
    shares = functional.adaptive_avg_pool2d(torch.stack(list(masks)).float(), clip.grid)
    # A patch counts when a third of it is the region's, or as much as of the best patch where that is less.
    most = shares.flatten(2).amax(-1)[..., None, None]
    inside = shares >= torch.minimum(most, torch.tensor(1 / 3))
    bias = torch.where(inside, 0.0, OUTSIDE)[:, None].expand(-1, vision.heads, -1, -1, -1)
    logits: Tensor = model.ov_classifier.logit_scale.exp() * (model.clip_rec_head(clip, bias) @ features.T)
    return logits
