"""A SAN that looks at large images through sliding windows. Where they lie is the resize rule's, averaging inference's.

Class probabilities of several windows can be averaged at each pixel. Their queries can't: each window has its own, and
nothing says which of them mean the same object. So the semantic form alone is offered.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models.errors import UsageError
from maskmill.models.inference.forms import offered
from maskmill.models.inference.sliding import SlidingGeometry, sliding_segments
from maskmill.models.resize import ImageBatch, Size, SlidingRule
from maskmill.models.san.model import SanOutput
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.segment import Segment
from maskmill.models.segmenter import ClassFeatures, Finish, StagedSegmenter
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.windows import Windows

if TYPE_CHECKING:
    from maskmill.models.inference.forms import Inference


class SlidingSan(StagedSegmenter):
    """A SAN and its sliding windows. Images of their usual size go to the SAN whole, as without windows.

    Args:
        san: the model; its rule says the usual size and the side of the windows.
        scale: how many times its usual size an image may have (`SlidingRule.scale`).
    """

    forms = ("semantic",)
    rule: SlidingRule

    def __init__(self, san: SanSegmenter, scale: float) -> None:
        self.san = san
        self.name = san.name
        self.weights = san.weights
        self.device = san.device
        self.templates = san.templates
        self.rule = SlidingRule(**asdict(san.rule), scale=scale)

    def settle(self) -> None:
        """See `Segmenter.settle`."""
        self.san.settle()

    def compile(self, sizes: Sequence[Size], batch_size: int) -> None:
        """See `Segmenter.compile`. For images with windows it is the window that is compiled, one shape for all of them
        but panoramas, for as many as of a full batch go through the model together."""
        self.san.compile([size for size in sizes if self.rule.grid(size) is None], batch_size)
        grids = {size: grid for size in sizes if (grid := self.rule.grid(size)) is not None}
        for window in dict.fromkeys(self.san.rule.padded(grid.size) for grid in grids.values()):
            at_once = self.rule.in_batch(next(iter(grids)), batch_size) * self.rule.windows_at_once
            self.san.compile([window], at_once)

    def encode_text(self, vocabulary: Vocabulary, templates: Sequence[str]) -> Tensor:
        """See `SanSegmenter.encode_text`."""
        return self.san.encode_text(vocabulary, templates)

    def begin(
        self,
        batch: ImageBatch,
        classes: ClassFeatures,
        inference: "Inference",
        *,
        top_k: int = 5,
        soft_masks: bool = False,
    ) -> Finish:
        """See `Segmenter.begin`: of images that are looked at whole. Windows are many, and all is done in the end."""
        offered(inference, self.forms, f"{self.name} with windows")
        if soft_masks:
            raise UsageError(
                "--soft-masks with --windows: a class has no mask logits of its own. Leave one of them out."
            )
        grids = [self.rule.grid(size) for size in batch.sizes]
        if all(grid is None for grid in grids):
            return self.san.begin(batch, classes, inference, top_k=top_k)
        return partial(self._segments, batch, grids, classes, top_k)

    def _segments(
        self, batch: ImageBatch, grids: Sequence[Windows | None], classes: ClassFeatures, top_k: int
    ) -> list[list[Segment] | None]:
        """Segments of images with windows; None where their numbers are not finite."""
        found: list[list[Segment] | None] = []
        with torch.inference_mode():
            outputs = self._outputs(batch, grids, classes)
            for grid, size, mask_size in zip(grids, batch.sizes, batch.mask_sizes, strict=True):
                assert grid is not None, "no image that is looked at whole has the padded size of one that isn't"
                logits = [next(outputs) for _ in range(len(grid))]
                geometry = SlidingGeometry(
                    windows=grid, padded=self.san.rule.padded(grid.size), size=size, mask_size=mask_size
                )
                try:
                    segments = sliding_segments(
                        [masks for masks, _ in logits], [names for _, names in logits], geometry, top_k=top_k
                    )
                except FloatingPointError:
                    found.append(None)
                else:
                    found.append(segments)
        return found

    def _outputs(
        self, batch: ImageBatch, grids: Sequence[Windows | None], classes: ClassFeatures
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Mask logits [Q, h, w] and class logits [Q, N + 1] of each window of each image, in order.

        Some windows go through the model together, of one image or several; fewer where the batch is smaller, so that
        it needs less memory.
        """
        at_once = len(batch) * self.rule.windows_at_once
        windows = (
            window
            for image, grid in zip(batch.pixels, grids, strict=True)
            if grid is not None
            for window in grid.cut(image)
        )
        while part := list(islice(windows, at_once)):
            for output in self._logits(self._batch_of_windows(part), classes):
                yield from zip(output.mask_logits, output.class_logits, strict=True)

    def _logits(self, windows: ImageBatch, classes: ClassFeatures) -> list[SanOutput]:
        """Logits of windows, at half as many at once where the device has not the memory for all."""
        try:
            return [self.san.logits(windows, classes)]
        except torch.OutOfMemoryError:
            if len(windows) == 1:
                raise
        half = len(windows) // 2  # begun outside of the handler, which would keep what the failed try holds
        return [
            output
            for part in (windows.part(0, half), windows.part(half, len(windows)))
            for output in self._logits(part, classes)
        ]

    def _batch_of_windows(self, windows: Sequence[Tensor]) -> ImageBatch:
        """Windows uint8 [3, h, w] as images of one padded size."""
        sizes = tuple((window.shape[1], window.shape[2]) for window in windows)
        height, width = self.san.rule.padded(sizes[0])
        padded = [
            functional.pad(window, (0, width - window.shape[2], 0, height - window.shape[1])) for window in windows
        ]
        return ImageBatch(pixels=torch.stack(padded), sizes=sizes, mask_sizes=sizes)
