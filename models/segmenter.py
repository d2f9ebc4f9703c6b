"""The door every model of the house stands behind: images and class features in, segments out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from maskmill.models import arguments
from maskmill.models.architecture import Form
from maskmill.models.errors import UsageError
from maskmill.models.inference.forms import INFERENCES, Inference, default_inference
from maskmill.models.resize import ImageBatch, ResizeRule, Size, batch_of, mask_size
from maskmill.models.segment import Segment
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.templates import DEFAULT_TEMPLATES, TEMPLATE_SETS, check_templates

if TYPE_CHECKING:
    from PIL import Image


_VOCABULARY = "a vocabulary, such as Vocabulary.of(['cat', 'wet road']) or Vocabulary.load('voc-20')"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassFeatures:
    """What a segmenter needs of a vocabulary: row i belongs to vocabulary id i."""

    features: Tensor
    """float32 [N, D]: each class's text feature, as `Segmenter.encode_text` gives it."""

    stuff: Tensor
    """bool [N], CPU: True where the class is stuff, whose segments of one image merge in general form."""

    def __post_init__(self) -> None:
        arguments.instance("features", self.features, Tensor, "a tensor, as Segmenter.encode_text gives it")
        arguments.instance("stuff", self.stuff, Tensor, "a tensor of type bool")
        if self.features.dim() != 2 or self.stuff.shape != self.features.shape[:1] or self.stuff.dtype != torch.bool:
            shapes = f"features {list(self.features.shape)}, stuff {list(self.stuff.shape)} of {self.stuff.dtype}"
            raise UsageError(f"{shapes}: expected [N, D] and [N] of torch.bool. Take Segmenter.classes(vocabulary).")

    def to(self, device: torch.device) -> "ClassFeatures":
        """The same classes with their features on `device`; `stuff` stays on the CPU, where merging decides."""
        return ClassFeatures(features=self.features.to(device), stuff=self.stuff)


Finish = Callable[[], list[list[Segment] | None]]
"""The rest of a batch that was begun: waits for the device, and gives what `Segmenter.segment` gives."""


class Segmenter(ABC):
    """A model on one device, with the rule that its input follows."""

    name: str
    """Name of the model, as in `maskmill label --model`."""

    weights: str
    """sha256 over sorted name, shape, dtype and bytes of the weights: a .pth and its safetensors twin are one."""

    rule: ResizeRule
    """How an image becomes this model's input."""

    device: torch.device
    """Where the weights live and `segment` computes."""

    forms: tuple[Form, ...] = ("general", "semantic", "queries")
    """Inference forms that this model offers; the first is what a user gets who names none."""

    templates: str = DEFAULT_TEMPLATES
    """Template set that names go into when the user names none."""

    def settle(self) -> None:  # noqa: B027  # most models have nothing to settle
        """Told once that this model labels and doesn't train: weights may be held in the arithmetic's own type."""

    def compile(self, sizes: Sequence[Size], batch_size: int) -> None:
        """Compile the model for full batches of these padded sizes, on the thread that will label; minutes.

        Every other batch runs as before: what is compiled is settled here, so that labels never depend on when a batch
        came. Compiled numbers differ by rounding. Without sizes it only sees whether anything can be compiled.

        Args:
            sizes: height, width of the padded input.
            batch_size: images in a full batch.

        Raises:
            UsageError: this model isn't compiled.
            EnvironmentFailure: there is no compiler here, or no memory.
        """
        raise UsageError(f"--compile: {self.name} isn't compiled. Leave it out.")

    @abstractmethod
    def encode_text(self, vocabulary: Vocabulary, templates: Sequence[str]) -> Tensor:
        """Text features of a vocabulary.

        Args:
            vocabulary: N entries; each has one feature, to which its synonyms add as far as the model's family says.
            templates: prompts with one `{}` each, where the name goes in raw.

        Returns:
            float32 [N, D] on the CPU, finite and nowhere a row of zeros; whether rows are normalised is the family's.

        Raises:
            UsageError: names or templates that this model can't be asked about.
        """

    @abstractmethod
    def segment(
        self,
        batch: ImageBatch,
        classes: ClassFeatures,
        inference: Inference,
        *,
        top_k: int = 5,
        soft_masks: bool = False,
    ) -> list[list[Segment] | None]:
        """Segments of every image of a batch, in batch order; None for an image whose numbers are not finite.

        Raises:
            UsageError: an inference form that this model doesn't offer.
            torch.OutOfMemoryError: the batch doesn't fit on the device; nothing is kept, a smaller one may be tried.
        """

    def begin(
        self,
        batch: ImageBatch,
        classes: ClassFeatures,
        inference: Inference,
        *,
        top_k: int = 5,
        soft_masks: bool = False,
    ) -> Finish:
        """Begin what `segment` does, without waiting for the device; the call that comes back does the rest.

        So the device has the next batch to compute while the host makes segments of this one. Several batches may be
        begun, on one thread, and are finished in their order. Here nothing is begun, and all is done in the end.
        """
        return partial(self.segment, batch, classes, inference, top_k=top_k, soft_masks=soft_masks)

    def classes(self, vocabulary: Vocabulary, templates: Sequence[str] | None = None) -> ClassFeatures:
        """Text features and kinds of a vocabulary; `templates` default to those the model was trained with.

        Raises:
            UsageError: names or templates that this model can't be asked about.
        """
        arguments.instance("vocabulary", vocabulary, Vocabulary, _VOCABULARY)
        chosen = TEMPLATE_SETS[self.templates] if templates is None else check_templates(templates)
        stuff = torch.tensor([entry.kind == "stuff" for entry in vocabulary], dtype=torch.bool)
        return ClassFeatures(features=self.encode_text(vocabulary, chosen), stuff=stuff)

    def __call__(
        self,
        image: "Image.Image",
        vocabulary: Vocabulary | ClassFeatures,
        inference: Inference | None = None,
        *,
        mask_side: int = 1024,
        top_k: int = 5,
        soft_masks: bool = False,
    ) -> list[Segment]:
        """Label one PIL image.

        Args:
            image: any mode; it is converted to RGB and taken as it is turned (apply EXIF rotation before).
            vocabulary: what to look for. `classes(vocabulary)` once, passed here, saves the text encoder's work.
            inference: form and thresholds; the model's first form by default.
            mask_side: masks have the image's size, scaled down to this long side where it is longer, in pixels.
            top_k: how many classes and logits to keep for each segment.
            soft_masks: also keep each segment's quantised mask logits.

        Returns:
            Segments in the order of their queries (of their class ids in semantic form).

        Raises:
            UsageError: an argument of another kind, or an inference form that this model doesn't offer.
            FloatingPointError: the model's numbers for this image are not finite.
        """
        from PIL import Image

        arguments.instance("image", image, Image.Image, "a PIL image, such as PIL.Image.open('photo.jpg')")
        if not all(image.size):
            raise UsageError(f"image: {image.width} x {image.height} pixels, expected one at least.")
        arguments.instance("vocabulary", vocabulary, (Vocabulary, ClassFeatures), _VOCABULARY)
        if inference is not None:
            kinds = tuple(INFERENCES.values())
            arguments.instance("inference", inference, kinds, "an inference form, such as GeneralInference()")
        arguments.whole("mask_side", mask_side, 1)
        arguments.whole("top_k", top_k, 1)
        arguments.flag("soft_masks", soft_masks)
        classes = vocabulary if isinstance(vocabulary, ClassFeatures) else self.classes(vocabulary)
        rgb = image.convert("RGB")
        batch = batch_of([self.rule.apply(rgb)], [mask_size((rgb.height, rgb.width), mask_side)], self.rule)
        form = default_inference(self.forms[0]) if inference is None else inference
        segments = self.segment(batch, classes.to(self.device), form, top_k=top_k, soft_masks=soft_masks)[0]
        if segments is None:
            raise FloatingPointError(f"{self.name}: the model's numbers for this image are not finite")
        return segments


class StagedSegmenter(Segmenter):
    """A segmenter whose work has two stages: `begin`, and what is left to do after it."""

    @abstractmethod
    def begin(
        self,
        batch: ImageBatch,
        classes: ClassFeatures,
        inference: Inference,
        *,
        top_k: int = 5,
        soft_masks: bool = False,
    ) -> Finish:
        """See `Segmenter.begin`."""

    def segment(
        self,
        batch: ImageBatch,
        classes: ClassFeatures,
        inference: Inference,
        *,
        top_k: int = 5,
        soft_masks: bool = False,
    ) -> list[list[Segment] | None]:
        """See `Segmenter.segment`."""
        return self.begin(batch, classes, inference, top_k=top_k, soft_masks=soft_masks)()
