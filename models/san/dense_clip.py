"""CLIP's own idea of every patch, without SAN: the baseline that a segmenter has to beat. No part of a SAN's output.

Source: MaskCLIP (Zhou, Loy, Dai: "Extract Free Dense Labels from CLIP", ECCV 2022), section 3.2: in the last block each
token keeps its own value instead of attending; what comes out is compared with class names.
"""

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models.clip.layers import finish, full_precision, query_key_value, run, to_map
from maskmill.models.inference.upsample import Geometry, band_rows, bands
from maskmill.models.resize import ImageBatch
from maskmill.models.san.model import San
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.segmenter import ClassFeatures


def dense_clip_logits(model: San, images: Tensor, features: Tensor) -> Tensor:
    """Class logits of CLIP's patches.

    Args:
        model: whose frozen CLIP is asked.
        images: [B, 3, H, W], normalised and padded, as for the model.
        features: [N, embed_dim], normalised; no background.

    Returns:
        [B, N, rows, columns] on CLIP's grid, which covers the padded input; cosines times CLIP's temperature.
    """
    extractor, head = model.clip_visual_extractor, model.clip_rec_head
    clip = extractor(extractor.clip_input(images))
    tokens = clip.tokens[head.first_layer]
    *inner, last = head.resblocks
    for block in inner:
        tokens = run(block, tokens)
    _, _, value = query_key_value(last, tokens)
    patches = head.ln_post(finish(last, tokens, value))[:, 1:] @ head.proj
    with torch.autocast(images.device.type, enabled=False):
        cosines = functional.normalize(full_precision(patches), dim=-1) @ features.T
        return to_map(model.ov_classifier.logit_scale.exp() * cosines, clip.grid)


@torch.inference_mode()
def dense_clip_maps(segmenter: SanSegmenter, batch: ImageBatch, classes: ClassFeatures) -> list[Tensor]:
    """The class of every pixel by CLIP's dense features, int64 [mask height, mask width] on the CPU for each image."""
    images = segmenter.normalised(batch.pixels, batch.sizes)
    features = classes.features.to(images)
    with segmenter.arithmetic():
        logits = dense_clip_logits(segmenter.model, images, features)
    padded = (batch.pixels.shape[-2], batch.pixels.shape[-1])
    found = []
    for one, size, mask_size in zip(logits, batch.sizes, batch.mask_sizes, strict=True):
        geometry = Geometry(padded=padded, size=size, mask_size=mask_size)
        rows = band_rows(len(one), mask_size[1], one.device)
        found.append(torch.cat([band.argmax(0) for _, band in bands(one, geometry, rows)]).cpu())
    return found
