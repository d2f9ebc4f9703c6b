"""Segmenters: images and vocabularies in, segments out. Plain PyTorch; imports nothing until a name is used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.inference.forms import GeneralInference, Inference, QueriesInference, SemanticInference
    from models.segment import Segment
    from models.segmenter import ClassFeatures, Segmenter
    from models.vocabulary import Vocabulary
    from models.zoo import MODELS, load

__all__ = [
    "MODELS",
    "ClassFeatures",
    "GeneralInference",
    "Inference",
    "QueriesInference",
    "Segment",
    "Segmenter",
    "SemanticInference",
    "Vocabulary",
    "load",
]

_HOMES = {
    "MODELS": "models.zoo",
    "ClassFeatures": "models.segmenter",
    "GeneralInference": "models.inference.forms",
    "Inference": "models.inference.forms",
    "QueriesInference": "models.inference.forms",
    "Segment": "models.segment",
    "Segmenter": "models.segmenter",
    "SemanticInference": "models.inference.forms",
    "Vocabulary": "models.vocabulary",
    "load": "models.zoo",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'models' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
