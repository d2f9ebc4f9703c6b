"""SAN's parts, each apart on what it gets in a real forward pass. What the parts do is the model's own code."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from models.inference.forms import Inference
from models.inference.run import segments_of
from models.masks.rle import encode_and_measure
from models.resize import ImageBatch, Size, batch_of
from models.san.recognition import pool_bias
from models.san.segmenter import SanSegmenter
from models.segment import Segment
from models.segmenter import ClassFeatures, Segmenter
from pipeline.bench.images import photo
from pipeline.bench.timing import Work

RLE_MASKS = 10
"""Masks of an image whose run lengths are timed: about what the default form keeps of a photo."""


def input_batch(segmenter: Segmenter, image: Size, masks: Size, count: int) -> ImageBatch:
    """A batch of made-up photos of one height and width, resized by the model's rule."""
    from PIL import Image

    resized = [segmenter.rule.apply(Image.fromarray(photo(*image, seed))) for seed in range(min(count, 4))]
    return batch_of([resized[index % len(resized)] for index in range(count)], [masks] * count, segmenter.rule)


class Part(NamedTuple):
    """What is timed."""

    work: Work
    """The part's work."""

    images: int
    """Images that it takes at once: the model may take a batch in pieces."""


class Parts:
    """The work of each part over one batch.

    Args:
        segmenter: the model.
        batch: its images.
        classes: what they are asked about.
        inference: form and thresholds.
    """

    def __init__(
        self, segmenter: SanSegmenter, batch: ImageBatch, classes: ClassFeatures, inference: Inference
    ) -> None:
        self._segmenter, self._batch, self._classes, self._inference = segmenter, batch, classes, inference
        model = segmenter.model
        with (
            torch.inference_mode(),
            _inputs(
                shallow=model.clip_visual_extractor,
                side_vit=model.side_adapter_network,
                mask_decoder=model.side_adapter_network.mask_decoder,
                recognition=model.clip_rec_head,
                classifier=model.ov_classifier,
            ) as seen,
        ):
            step = min(len(batch), segmenter.images_at_once((batch.pixels.shape[-2], batch.pixels.shape[-1])))
            images = segmenter.normalised(batch.pixels[-step:], batch.sizes[-step:])
            with segmenter.arithmetic():
                model(images, model.ov_classifier.class_weights(classes.features))
        self._output = segmenter.logits(batch, classes)
        self._seen = seen

    def works(self) -> dict[str, Part]:
        """Each part by its name, in the order in which the model runs them."""
        model, whole = self._segmenter.model, len(self._batch)
        (small,) = self._seen["shallow"]
        piece = len(small)
        images = self._images()[-piece:]
        decoder = model.side_adapter_network.mask_decoder
        grid = self._seen["recognition"][0].grid

        def decode() -> object:
            return pool_bias(decoder(*self._seen["mask_decoder"]).attention_bias, grid)

        works: dict[str, Work] = {
            "input": partial(self._segmenter.normalised, self._batch.pixels, self._batch.sizes),
            "CLIP shallow": lambda: model.clip_visual_extractor(model.clip_visual_extractor.clip_input(images)),
            "side ViT": lambda: model.side_adapter_network(*self._seen["side_vit"]),
            "mask decoder": decode,
            "recognition": lambda: model.clip_rec_head(*self._seen["recognition"]),
            "classifier": lambda: model.ov_classifier(*self._seen["classifier"]),
        }
        parts = {
            name: Part(self._as_labeling(work), whole if name == "input" else piece) for name, work in works.items()
        }
        return parts | {
            "segments": Part(self._as_labeling(self.segments, plain=True), whole),
            "RLE": Part(partial(self._runs, self._blobs()), whole),
        }

    def segments(self) -> list[list[Segment] | None]:
        """The segments of all images, from logits that are there already."""
        found: list[list[Segment] | None] = []
        for index, (size, mask_size) in enumerate(zip(self._batch.sizes, self._batch.mask_sizes, strict=True)):
            found.append(
                segments_of(
                    self._output.mask_logits[index],
                    self._output.class_logits[index],
                    padded=(self._batch.pixels.shape[-2], self._batch.pixels.shape[-1]),
                    size=size,
                    mask_size=mask_size,
                    stuff=self._classes.stuff,
                    inference=self._inference,
                    top_k=5,
                    soft_masks=False,
                )
            )
        return found

    def _images(self) -> Tensor:
        with torch.inference_mode():
            return self._segmenter.normalised(self._batch.pixels, self._batch.sizes)

    def _blobs(self) -> list[Tensor]:
        """Masks of each image that don't overlap, with outlines like those of objects."""
        return [blobs(size, RLE_MASKS).to(self._segmenter.device) for size in self._batch.mask_sizes]

    def _runs(self, masks: list[Tensor]) -> None:
        for one in masks:
            encode_and_measure(one)

    def _as_labeling(self, work: Work, *, plain: bool = False) -> Work:
        """The work in the arithmetic in which the segmenter runs it."""

        def run() -> object:
            with torch.inference_mode(), nullcontext() if plain else self._arithmetic():
                return work()

        return run

    def _arithmetic(self) -> AbstractContextManager[Any]:
        if self._segmenter.dtype == "bfloat16":
            return torch.autocast(self._segmenter.device.type, dtype=torch.bfloat16)
        return nullcontext()


def blobs(size: Size, count: int) -> Tensor:
    """So many masks of smooth outlines that share the plane, bool [count, H, W]; the same for the same arguments."""
    coarse = np.random.default_rng(0).standard_normal((1, count, 12, 12)).astype(np.float32)
    fields = torch.nn.functional.interpolate(torch.from_numpy(coarse), size, mode="bicubic", align_corners=False)[0]
    return fields.argmax(0) == torch.arange(count)[:, None, None]


@contextmanager
def _inputs(**modules: nn.Module) -> Iterator[dict[str, tuple[Any, ...]]]:
    """What modules are called with meanwhile, by name."""
    seen: dict[str, tuple[Any, ...]] = {}

    def catch(name: str) -> Any:
        return lambda _module, inputs: seen.__setitem__(name, inputs)

    hooks = [module.register_forward_pre_hook(catch(name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
