"""SAN's parts, each apart on what it gets in a real forward pass. What the parts do is the model's own code."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from maskmill.models.inference.forms import Inference, QueriesInference
from maskmill.models.inference.run import goes_together
from maskmill.models.inference.transfer import fetch
from maskmill.models.masks.label_planes import NONE, plane_runs, read, written
from maskmill.models.masks.rle import EncodedMask, encode_and_measure
from maskmill.models.resize import ImageBatch, Size, batch_of
from maskmill.models.san.recognition import pool_bias
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.segment import Segment
from maskmill.models.segmenter import ClassFeatures, Segmenter
from maskmill.pipeline.bench.images import photo
from maskmill.pipeline.bench.timing import Work

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
            "RLE": Part(self._rle(), whole),
        }

    def segments(self) -> list[list[Segment] | None]:
        """The segments of all images, from logits that are there already."""
        return self._segmenter.segments(
            self._output, self._batch, self._classes, self._inference, top_k=5, soft_masks=False
        )

    def _images(self) -> Tensor:
        with torch.inference_mode():
            return self._segmenter.normalised(self._batch.pixels, self._batch.sizes)

    def _rle(self) -> Work:
        """The run lengths of some masks of each image, written as the segments' are: by image, or all together."""
        masks = [blobs(size, RLE_MASKS) for size in self._batch.mask_sizes]
        device = self._segmenter.device
        if goes_together(device, self._inference):
            return written_together(masks, device, overlap=isinstance(self._inference, QueriesInference))
        placed = [one.to(device) for one in masks]
        return lambda: [encode_and_measure(one) for one in placed]

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


def written_together(masks: Sequence[Tensor], device: torch.device, *, overlap: bool) -> Work:
    """The run lengths of all images' masks as a batch on an accelerator has them written, from label planes on.

    Args:
        masks: bool [K, H, W] of each image, on the CPU, which share the plane and leave nothing of it over.
        device: where planes live.
        overlap: whether each mask has a plane of its own, as in `queries` form.
    """
    planes = [one for of_image in masks for one in ~of_image] if overlap else [one.int().argmax(0) for one in masks]
    labels = torch.cat([one.T.flatten() for one in planes]).to(device, torch.uint8)
    pixels = torch.tensor([one.numel() for one in planes])
    each = 1 if overlap else len(masks[0])
    segments = torch.full((len(planes), each + 1), NONE)
    segments[:, :each] = torch.arange(len(planes) * each).view(-1, each)
    areas = [area for one in masks for area in one.sum((1, 2)).tolist()]
    firsts, of_label = (pixels.cumsum(0) - pixels).to(device), segments.to(device)
    heights = torch.tensor([len(one) for one in planes])
    of_segments = [one.to(device).repeat_interleave(each) for one in (firsts, pixels, heights)]

    def work() -> list[EncodedMask]:
        found = written(
            plane_runs(labels, firsts),
            of_label,
            firsts=of_segments[0],
            pixels=of_segments[1],
            heights=of_segments[2],
            longest=int(pixels.max()),
        )
        numbers, text = fetch([found.numbers, found.text])
        return read(text, numbers, areas)

    return work


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
