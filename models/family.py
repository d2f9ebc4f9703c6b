"""What the zoo asks of a family of models: how sizes become a model, and a model a segmenter."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from maskmill.models import checkpoint
from maskmill.models.architecture import Architecture, Precision
from maskmill.models.resize import ResizeRule
from maskmill.models.segmenter import Segmenter
from maskmill.models.vocabulary import Vocabulary


class Family(ABC):
    """How sizes become a model; `models.families.family_of` finds the one of a configuration."""

    config: Architecture
    """All sizes."""

    @abstractmethod
    def empty(self) -> nn.Module:
        """The model without storage (on the meta device), to be given its tensors by `assign`."""

    @abstractmethod
    def segmenter(self, model: nn.Module, *, name: str, weights: str, rule: ResizeRule, dtype: Precision) -> Segmenter:
        """A model that `empty` made and that has its tensors, behind the door."""

    def fitted(self, state: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
        """The tensors of a checkpoint that a model of these sizes has names for.

        Args:
            state: what the checkpoint holds.
            source: where it comes from, for errors.

        Raises:
            UsageError: as `checkpoint.fitted`.
        """
        wanted = self.empty().state_dict()
        return checkpoint.fitted(
            state,
            {name: tuple(tensor.shape) for name, tensor in wanted.items()},
            ignored=self.config.ignored,
            integers={name for name, tensor in wanted.items() if not tensor.is_floating_point()},
            source=source,
        )

    @abstractmethod
    def check_text(self, vocabulary: Vocabulary, templates: Sequence[str], *, model: str) -> None:
        """Refuse what `Segmenter.encode_text` of a model of these sizes would refuse; no weights are needed.

        Args:
            vocabulary: the classes.
            templates: prompts with one `{}` each.
            model: what the model is called in errors.

        Raises:
            UsageError: names or templates that the model can't be asked about, such as a prompt longer than it reads.
        """

    def slide(self, segmenter: Segmenter, scale: float) -> Segmenter:
        """The segmenter with sliding windows over images of up to `scale` times their usual size.

        Only of a family that takes windows (`Architecture.takes_windows`).
        """
        raise AssertionError("a family that takes no windows")
