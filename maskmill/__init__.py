"""Segmentation pseudo-labels from image-text shards: the public names. Nothing is imported until a name is used.

`maskmill.models`, `maskmill.pipeline` and `maskmill.jobs` are the repository's folders of these names.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskmill.models.errors import EnvironmentFailure, UsageError
    from maskmill.models.inference.forms import GeneralInference, Inference, QueriesInference, SemanticInference
    from maskmill.models.segment import Segment
    from maskmill.models.segmenter import ClassFeatures, Segmenter
    from maskmill.models.vocabulary import Vocabulary
    from maskmill.models.zoo import MODELS, load
    from maskmill.pipeline.dataset import (
        Batch,
        LabeledImage,
        LabeledImages,
        MaskSet,
        collate,
        mask2former_loss,
        mask_set,
        semantic_map,
    )
    from maskmill.pipeline.table.filters import SegmentFilter

__all__ = [
    "MODELS",
    "Batch",
    "ClassFeatures",
    "EnvironmentFailure",
    "GeneralInference",
    "Inference",
    "LabeledImage",
    "LabeledImages",
    "MaskSet",
    "QueriesInference",
    "Segment",
    "SegmentFilter",
    "Segmenter",
    "SemanticInference",
    "UsageError",
    "Vocabulary",
    "collate",
    "load",
    "mask2former_loss",
    "mask_set",
    "semantic_map",
]

_MODULES = {
    "maskmill.models.errors": ("EnvironmentFailure", "UsageError"),
    "maskmill.models.inference.forms": ("GeneralInference", "Inference", "QueriesInference", "SemanticInference"),
    "maskmill.models.segment": ("Segment",),
    "maskmill.models.segmenter": ("ClassFeatures", "Segmenter"),
    "maskmill.models.vocabulary": ("Vocabulary",),
    "maskmill.models.zoo": ("MODELS", "load"),
    "maskmill.pipeline.dataset": (
        "Batch",
        "LabeledImage",
        "LabeledImages",
        "MaskSet",
        "collate",
        "mask2former_loss",
        "mask_set",
        "semantic_map",
    ),
    "maskmill.pipeline.table.filters": ("SegmentFilter",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # to a type checker each name is the one imported above, and others are none

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'maskmill' has no attribute {name!r}")
        return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
