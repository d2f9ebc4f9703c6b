"""Training on labels: source shards and their label files, read together."""

from pipeline.dataset.collate import collate
from pipeline.dataset.reader import LabeledImages
from pipeline.dataset.sample import LabeledImage
from pipeline.dataset.targets import MaskSet, mask_set, semantic_map

__all__ = ["LabeledImage", "LabeledImages", "MaskSet", "collate", "mask_set", "semantic_map"]
