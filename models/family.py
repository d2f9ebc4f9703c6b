"""What the zoo asks of a family of models: how sizes become a model, and a model a segmenter."""

from abc import ABC, abstractmethod

from torch import nn

from maskmill.models.architecture import Precision
from maskmill.models.resize import ResizeRule
from maskmill.models.segmenter import Segmenter


class Family(ABC):
    """How sizes become a model; `models.families.family_of` finds the one of a configuration."""

    @abstractmethod
    def empty(self) -> nn.Module:
        """The model without storage (on the meta device), to be given its tensors by `assign`."""

    @abstractmethod
    def segmenter(self, model: nn.Module, *, name: str, weights: str, rule: ResizeRule, dtype: Precision) -> Segmenter:
        """A model that `empty` made and that has its tensors, behind the door."""

    def slide(self, segmenter: Segmenter, scale: float) -> Segmenter:
        """The segmenter with sliding windows over images of up to `scale` times their usual size.

        Only of a family that takes windows (`Architecture.takes_windows`).
        """
        raise AssertionError("a family that takes no windows")
