"""Training on labels: source shards and their label files, read together."""

from maskmill.pipeline.dataset.collate import collate
from maskmill.pipeline.dataset.reader import LabeledImages
from maskmill.pipeline.dataset.sample import LabeledImage
from maskmill.pipeline.dataset.targets import MaskSet, mask_set, semantic_map

__all__ = ["LabeledImage", "LabeledImages", "MaskSet", "collate", "mask_set", "semantic_map"]
