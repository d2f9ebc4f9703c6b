"""SAN behind the house's door: uint8 batches and vocabularies in, segments out. Arithmetic types are decided here."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from maskmill.models.clip.pixels import Normalisation, extents
from maskmill.models.clip.tokenizer import Tokenizer
from maskmill.models.compiled import FixedShapes, check
from maskmill.models.resize import ImageBatch, ResizeRule, Size
from maskmill.models.san.model import San, SanOutput, hold_products_in
from maskmill.models.segment import Segment
from maskmill.models.segmenter import ClassFeatures, Finish, StagedSegmenter
from maskmill.models.streams import Beside, Handover
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.averaging import average
from maskmill.models.vocabulary.prompts import prompts
from maskmill.models.vocabulary.tokens import check_tokens

if TYPE_CHECKING:
    from maskmill.models.architecture import Precision
    from maskmill.models.inference.forms import Inference
    from maskmill.models.inference.planes import Measure

PROMPTS_AT_ONCE = 256
"""Prompts that go through the text tower together; more hold more memory and are no faster."""


CPU_PIXELS = 1 << 20
"""Pixels that go through the model together on a CPU: two images of 640 x 640, or one larger one. Eight at once leave
its cache, and each then takes a tenth longer."""


class SanSegmenter(StagedSegmenter):
    """A SAN on one device.

    Args:
        model: on its device, in float64 for `dtype` float64, else in float32.
        name: what it is called in errors and run.json.
        weights: hash of its tensors (`checkpoint.weights_hash`).
        rule: how images become its input.
        dtype: bfloat16 runs matrix products in bfloat16 by autocast; text, mask logits and class logits stay float32.
    """

    def __init__(self, model: San, *, name: str, weights: str, rule: ResizeRule, dtype: "Precision") -> None:
        self.model = model
        self.name = name
        self.weights = weights
        self.rule = rule
        self.dtype = dtype
        self.forms = model.config.forms
        self.templates = model.config.templates
        own = model.ov_classifier.bg_embed
        self.device = own.device
        self._normalisation = Normalisation(own)
        self._segmenting = Beside(self.device, urgent=True)
        self._compiled = FixedShapes(self._fixed_pass, self.arithmetic)
        self._measure: Measure | None = None
        self._named: tuple[Tensor, tuple[int, int], Tensor] | None = None

    def settle(self) -> None:
        """See `Segmenter.settle`."""
        if self.dtype == "bfloat16":
            hold_products_in(self.model, torch.bfloat16)

    def encode_text(self, vocabulary: Vocabulary, templates: Sequence[str]) -> Tensor:
        """See `Segmenter.encode_text`: averaged over templates, then over a class's names, normalised.

        Prompts go through CLIP's text tower in float32 (float64 for that dtype).

        Raises:
            UsageError: a prompt is longer than CLIP reads, or has a token that the tower doesn't.
        """
        check_tokens(vocabulary, templates, context_length=self.model.config.clip.text_cfg.context_length)
        sentences, owners = prompts(vocabulary, templates)
        return average(self.encode_prompts(sentences), owners).float()

    @torch.no_grad()
    def encode_prompts(self, sentences: Sequence[str]) -> Tensor:
        """Normalised text features of prompts, [P, embed_dim], on the CPU in the model's own type."""
        found = []
        for start in range(0, len(sentences), PROMPTS_AT_ONCE):
            tokens = self.tokenize(sentences[start : start + PROMPTS_AT_ONCE])
            found.append(self.model.ov_classifier.encode_text(tokens.to(self.device)).cpu())
        return torch.cat(found)

    def tokenize(self, sentences: Sequence[str]) -> Tensor:
        """Rows of the token embedding for prompts, int64 [P, context_length]; see `Tokenizer`."""
        return self._tokenizer(sentences)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer(self.model.config.clip.text_cfg, model=self.name)

    def begin(
        self,
        batch: ImageBatch,
        classes: ClassFeatures,
        inference: "Inference",
        *,
        top_k: int = 5,
        soft_masks: bool = False,
    ) -> Finish:
        """See `Segmenter.begin`: the device is told to compute the logits; segments are made of them in the end."""
        output = self.logits(batch, classes)
        made = Handover.of(output.mask_logits, output.class_logits)

        def finish() -> list[list[Segment] | None]:
            with torch.inference_mode(), self._segmenting():
                masks, names = made.take()
                return self.segments(
                    SanOutput(mask_logits=masks, class_logits=names),
                    batch,
                    classes,
                    inference,
                    top_k=top_k,
                    soft_masks=soft_masks,
                )

        return finish

    def segments(
        self,
        output: SanOutput,
        batch: ImageBatch,
        classes: ClassFeatures,
        inference: "Inference",
        *,
        top_k: int,
        soft_masks: bool,
    ) -> list[list[Segment] | None]:
        """Segments of each image from its logits; None where they are not finite."""
        from maskmill.models.inference.planes import measured
        from maskmill.models.inference.run import segments_of_batch
        from maskmill.models.inference.upsample import Geometry

        padded = (batch.pixels.shape[-2], batch.pixels.shape[-1])
        return segments_of_batch(
            output.mask_logits,
            output.class_logits,
            [
                Geometry(padded=padded, size=size, mask_size=mask_size)
                for size, mask_size in zip(batch.sizes, batch.mask_sizes, strict=True)
            ],
            stuff=classes.stuff,
            inference=inference,
            top_k=top_k,
            soft_masks=soft_masks,
            measure=self._measure or measured,
        )

    @torch.inference_mode()
    def logits(self, batch: ImageBatch, classes: ClassFeatures) -> SanOutput:
        """Mask and class logits of a batch, before they become segments: float32, or float64 for that dtype."""
        weights = self._class_weights(classes.features)
        step = self.images_at_once((batch.pixels.shape[-2], batch.pixels.shape[-1]))
        outputs: list[SanOutput] = []
        for start in range(0, len(batch), step):
            masks, embeddings = self._proposed(batch.part(start, start + step))
            # Apart from what is compiled, which so knows no vocabulary.
            outputs.append(SanOutput(mask_logits=masks, class_logits=self.model.ov_classifier(embeddings, weights)))
        if len(outputs) == 1:
            return outputs[0]
        return SanOutput(
            mask_logits=torch.cat([output.mask_logits for output in outputs]),
            class_logits=torch.cat([output.class_logits for output in outputs]),
        )

    def images_at_once(self, padded: Size) -> int:
        """Images of that padded size that go through the model together: any number on an accelerator, what a cache
        holds on a CPU."""
        if self.device.type != "cpu":
            return sys.maxsize
        return max(1, CPU_PIXELS // (padded[0] * padded[1]))

    def compile(self, sizes: Sequence[Size], batch_size: int) -> None:
        """See `Segmenter.compile`."""
        check(self.device)
        for height, width in sizes:
            count = min(batch_size, self.images_at_once((height, width)))
            # As `resize.batch_of` lays pixels out.
            pixels = torch.zeros(count, height, width, 3, dtype=torch.uint8, device=self.device).permute(0, 3, 1, 2)
            self._compiled.prepare([pixels, extents([(height, width)] * count, self.device)])
        if sizes and self.device.type != "cpu":
            from maskmill.models.inference.compiled_measure import CompiledMeasure

            self._measure = CompiledMeasure(self.device)

    def _proposed(self, piece: ImageBatch) -> tuple[Tensor, Tensor]:
        """Mask logits [B, Q, h, w] and embeddings [B, Q, embed_dim] of images that go through the model together."""
        if self._compiled.covers(piece.pixels):
            masks, embeddings = self._compiled(piece.pixels, extents(piece.sizes, self.device))
            return masks, embeddings
        images = self.normalised(piece.pixels, piece.sizes)
        with self.arithmetic():
            (masks,), embeddings = self.model.propose(images)
        return masks, embeddings

    def _fixed_pass(self, pixels: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """What is compiled: all of `_proposed`, in steps that no image's size decides."""
        (masks,), embeddings = self.model.propose(self._normalisation.within(pixels, sizes))
        return masks, embeddings

    def _class_weights(self, features: Tensor) -> Tensor:
        """The classifier's weights for features, kept while the same ones are asked for and the background stays."""
        background = self.model.ov_classifier.bg_embed
        state = background.data_ptr(), background._version
        if self._named is None or self._named[0] is not features or self._named[1] != state:
            self._named = features, state, self.model.ov_classifier.class_weights(features.to(self.device))
        return self._named[2]

    def normalised(self, pixels: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Pixels [B, 3, H, W] as the model's input on its device: normalised, then zero outside each image's size."""
        return self._normalisation(pixels, sizes)

    def arithmetic(self) -> AbstractContextManager[Any]:
        """What the forward pass runs under: autocast for bfloat16."""
        if self.dtype == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()
