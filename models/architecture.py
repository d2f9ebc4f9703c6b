"""What is known of a model before there is one: sizes, and what its family offers. Importing this needs no torch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

if TYPE_CHECKING:
    from torch import Tensor

Precision = Literal["float32", "bfloat16", "float64"]
"""Arithmetic of a model: float32, bfloat16 products with float32 sums and logits, or float64 for checks."""

Form = Literal["general", "semantic", "queries"]
"""Inference forms, by name."""


class Architecture:
    """All sizes of a model. A family is a subclass, a frozen dataclass; a `models.family.Family` makes its models."""

    __slots__ = ()

    family: ClassVar[str]
    """What models of this kind are called."""

    forms: ClassVar[tuple[Form, ...]]
    """Inference forms that the family offers; the first is what a user gets who names none."""

    templates: ClassVar[str]
    """Template set that names go into when the user names none."""

    compiles: ClassVar[bool] = False
    """Whether the family's segmenters can be compiled (`Segmenter.compile`)."""

    ignored: ClassVar[frozenset[str]] = frozenset()
    """Tensors of released checkpoints that nothing here reads."""

    closed: ClassVar[bool] = False
    """Whether the weights decide how many names a model can be asked about."""

    takes_windows: ClassVar[bool] = False
    """Whether sliding windows can be asked for (`models.family.Family.slide`)."""

    num_classes: int
    """Classes of the training vocabulary."""

    size_divisibility: int
    """Inputs are padded to a multiple of this many pixels."""

    @property
    def sliding(self) -> str | None:
        """What a run's identity says of sliding windows; None where the whole image is decoded at once."""
        return None

    def fitted_to(self, state: "Mapping[str, Tensor]") -> Self:
        """The sizes with those that a checkpoint decides, such as the names of a closed vocabulary, taken from it."""
        return self
