"""Training on labels: source shards and their label files, read together."""

from maskmill.pipeline.dataset.collate import Batch, collate
from maskmill.pipeline.dataset.mask2former import mask2former_loss
from maskmill.pipeline.dataset.reader import LabeledImages
from maskmill.pipeline.dataset.sample import LabeledImage
from maskmill.pipeline.dataset.targets import MaskSet, mask_set, semantic_map

__all__ = [
    "Batch",
    "LabeledImage",
    "LabeledImages",
    "MaskSet",
    "collate",
    "mask2former_loss",
    "mask_set",
    "semantic_map",
]
