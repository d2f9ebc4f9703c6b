"""DenseCLIP behind the house's door: uint8 batches and its closed vocabulary in, segments out."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from maskmill.models.clip.layers import full_precision
from maskmill.models.clip.pixels import Normalisation
from maskmill.models.clip.tokenizer import Tokenizer
from maskmill.models.denseclip.model import DenseClip
from maskmill.models.denseclip.names import check_names, check_templates
from maskmill.models.denseclip.windows import LEAST_SIDE, grid_of, side_by_side, window_bands
from maskmill.models.errors import UsageError
from maskmill.models.inference.forms import offered
from maskmill.models.inference.semantic import closed_segments
from maskmill.models.resize import ImageBatch, ResizeRule, Size
from maskmill.models.segment import Segment
from maskmill.models.segmenter import ClassFeatures, Segmenter
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.windows import WindowConfig

if TYPE_CHECKING:
    from maskmill.models.architecture import Precision
    from maskmill.models.inference.forms import Inference


Bands = Iterator[tuple[slice, Tensor]]
"""Rows of an image's masks with their class logits [N, rows, mask width], from the top to the bottom."""


class DenseClipSegmenter(Segmenter):
    """A DenseCLIP on one device, for the names it was trained with, in their order.

    It offers the semantic form alone: every pixel takes the name with the highest logit, and a segment's class logits
    are the means of its pixels' logits (`models.inference.semantic.closed_segments`). There is no background.

    Args:
        model: on its device, in float64 for `dtype` float64, else in float32.
        name: what it is called in errors and run.json.
        weights: hash of its tensors (`checkpoint.weights_hash`).
        rule: how images become its input.
        dtype: bfloat16 runs matrix products in bfloat16 by autocast; text, score map and logits stay float32.
    """

    def __init__(self, model: DenseClip, *, name: str, weights: str, rule: ResizeRule, dtype: "Precision") -> None:
        self.model = model
        self.name = name
        self.weights = weights
        self.rule = rule
        self.dtype = dtype
        self.forms = model.config.forms
        self.templates = model.config.templates
        self.device = model.gamma.device
        self._normalisation = Normalisation(model.gamma)

    def encode_text(self, vocabulary: Vocabulary, templates: Sequence[str]) -> Tensor:
        """See `Segmenter.encode_text`: of each class's bare name after the learned contexts, not normalised.

        Synonyms are not read: a class has one channel in the score map, and it was trained on the name.

        Raises:
            UsageError: another number of names than the model was trained with, a name of too many tokens, or
                templates other than the bare name.
        """
        check_templates(templates, self.model.config, model=self.name)
        check_names(vocabulary, self.model.config, model=self.name)
        return self.encode_names(vocabulary.names).float()

    @torch.no_grad()
    def encode_names(self, names: Sequence[str]) -> Tensor:
        """Text features of names, [N, embed_dim], on the CPU in the model's own type."""
        with self._exact():
            return self.model.encode_text(self.tokenize(names).to(self.device)).cpu()

    def tokenize(self, names: Sequence[str]) -> Tensor:
        """Rows of the token embedding for names, int64 [N, name_tokens]; see `Tokenizer`."""
        return self._tokenizer(names)[:, : self.model.config.name_tokens]

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer(self.model.config.text, model=self.name)

    def segment(
        self,
        batch: ImageBatch,
        classes: ClassFeatures,
        inference: "Inference",
        *,
        top_k: int = 5,
        soft_masks: bool = False,
    ) -> list[list[Segment] | None]:
        """See `Segmenter.segment`."""
        offered(inference, self.forms, self.name)
        if soft_masks:
            raise UsageError(f"--soft-masks: {self.name} has no queries, and no mask logits of theirs. Leave it out.")
        names = self.model.config.num_classes
        found: list[list[Segment] | None] = []
        with torch.inference_mode():
            for bands, mask_size in zip(self.bands(batch, classes), batch.mask_sizes, strict=True):
                found.append(None if bands is None else closed_segments(bands, names, mask_size, top_k=top_k))
        return found

    def bands(self, batch: ImageBatch, classes: ClassFeatures) -> list[Bands | None]:
        """Class logits of every image of a batch at its mask size; see `bands_of_images`."""
        images = self.normalised(batch.pixels, batch.sizes)
        texts = classes.features.to(self.model.gamma)
        return self.bands_of_images(images, texts, batch.sizes, batch.mask_sizes, self.model.config.windows)

    @torch.inference_mode()
    def bands_of_images(
        self,
        images: Tensor,
        texts: Tensor,
        sizes: Sequence[Size],
        mask_sizes: Sequence[Size],
        windows: WindowConfig | None,
    ) -> list[Bands | None]:
        """Class logits of images at their masks' sizes, in bands of rows (`window_bands`).

        Windows of all images go through the model together, as many at once as there are images, so that a smaller
        batch needs less memory.

        Args:
            images: [B, 3, H, W], normalised, zero outside each image.
            texts: [N, embed_dim], in the model's type and on its device.
            sizes: height, width of each image.
            mask_sizes: height, width of each image's masks.
            windows: how to slide; None decodes each image whole.

        Returns:
            For each image its bands; None where its numbers are not finite.
        """
        grids = [grid_of(size, windows) for size in sizes]
        logits = self._logits(
            [window for image, grid in zip(images, grids, strict=True) for window in grid.cut(image)],
            texts,
            at_once=len(images),
        )
        found: list[Bands | None] = []
        for grid, size, mask_size in zip(grids, sizes, mask_sizes, strict=True):
            own = side_by_side(grid, torch.stack([next(logits) for _ in range(len(grid))]))
            found.append(window_bands(own, grid, size, mask_size) if bool(own.isfinite().all()) else None)
        return found

    def normalised(self, pixels: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Pixels [B, 3, H, W] as the model's input on its device: normalised, then zero outside each image's size."""
        images = self._normalisation(pixels, sizes)
        short = [max(0, LEAST_SIDE - side) for side in (images.shape[-1], images.shape[-2])]
        return torch.nn.functional.pad(images, (0, short[0], 0, short[1]))

    def _logits(self, windows: list[Tensor], texts: Tensor, *, at_once: int) -> Iterator[Tensor]:
        """Logits [N, h, w] of each window, in order: float32, or float64 for that dtype."""
        by_size: defaultdict[Size, list[int]] = defaultdict(list)
        for i, window in enumerate(windows):
            by_size[window.shape[-2], window.shape[-1]].append(i)
        found: dict[int, Tensor] = {}
        for indices in by_size.values():
            for start in range(0, len(indices), at_once):
                part = indices[start : start + at_once]
                with self._exact(), self._arithmetic():
                    output = self.model(torch.stack([windows[i] for i in part]), texts)
                found |= zip(part, full_precision(output.logits), strict=True)
        return iter([found[i] for i in range(len(windows))])

    def _arithmetic(self) -> AbstractContextManager[Any]:
        if self.dtype == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _exact(self) -> AbstractContextManager[Any]:
        """Convolutions on an accelerator in float32 and by a fixed algorithm; cuDNN's default is TF32, by trial."""
        if self.device.type != "cuda":
            return nullcontext()
        context: AbstractContextManager[Any] = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        return context
