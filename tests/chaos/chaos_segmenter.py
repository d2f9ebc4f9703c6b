"""A segmenter without a network: deterministic, a few milliseconds an image; three images it does not survive."""

import io
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from maskmill.models.inference.forms import Inference
from maskmill.models.masks import rle
from maskmill.models.resize import ImageBatch, ResizeRule, Size
from maskmill.models.segment import Segment
from maskmill.models.segmenter import ClassFeatures, Segmenter
from maskmill.models.vocabulary import Vocabulary

KILLS, HANGS, POISONS = (255, 0, 255), (0, 255, 255), (255, 255, 0)
"""Colours of the image that kills the process, as memory that runs out does, of that which never comes back, and of
that which poisons the device the first time it is seen: until there is a file where `POISONED` says."""

POISONED = "CHAOS_POISONED"
"""Environment variable that names the file."""


def marked(colour: tuple[int, int, int]) -> bytes:
    """The PNG of an image of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (128, 128), colour).save(file, "PNG")
    return file.getvalue()


class ChaosSegmenter(Segmenter):
    """Where an image is mostly red, green or blue is a segment."""

    def __init__(self, rule: ResizeRule) -> None:
        self.name = "chaos"
        self.weights = "c" * 64
        self.rule = rule
        self.device = torch.device("cpu")
        self.forms = ("general",)

    def encode_text(self, vocabulary: Vocabulary, templates: Sequence[str]) -> Tensor:
        rows = torch.arange(1, len(list(vocabulary)) + 1, dtype=torch.float32)[:, None].repeat(1, 4)
        rows[:, 0] = len(templates)
        return rows / rows.norm(dim=1, keepdim=True)

    def segment(
        self,
        batch: ImageBatch,
        classes: ClassFeatures,
        inference: Inference,
        *,
        top_k: int = 5,
        soft_masks: bool = False,
    ) -> list[list[Segment] | None]:
        ids = len(classes.features)
        return [
            _segments(pixels[:, : size[0], : size[1]], mask_size, min(top_k, ids))
            for pixels, size, mask_size in zip(batch.pixels, batch.sizes, batch.mask_sizes, strict=True)
        ]


def _segments(pixels: Tensor, mask_size: Size, top_k: int) -> list[Segment]:
    means = pixels.to(torch.float32).mean(dim=(1, 2))
    if torch.equal(means, torch.tensor(KILLS, dtype=torch.float32)):
        os.kill(os.getpid(), signal.SIGKILL)
    if torch.equal(means, torch.tensor(HANGS, dtype=torch.float32)):
        threading.Event().wait()
    if torch.equal(means, torch.tensor(POISONS, dtype=torch.float32)):
        poisoned = Path(os.environ[POISONED])
        if not poisoned.exists():
            poisoned.touch()
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
    highest = interpolate(pixels.argmax(0)[None, None].to(torch.float32), mask_size)[0, 0]
    found = []
    for channel in range(3):
        mask = highest == channel
        if not mask.any():
            continue
        encoded = rle.encode(mask[None])[0]
        area, bbox = rle.area_and_bbox(encoded, mask_size)
        logits = [float(np.float32(means[channel] / 16 - k)) for k in range(top_k)]
        score = area / (2 * mask_size[0] * mask_size[1]) + 0.25
        found.append(
            Segment(
                query=channel,
                vocab_id=channel,
                score=score,
                margin=score / 2,
                top_ids=tuple((channel + k) % max(3, top_k) for k in range(top_k)),
                top_logits=tuple(logits),
                background_logit=-1.0,
                mask_score=0.75,
                stability=0.5,
                kept=1.0,
                area=area,
                bbox=bbox,
                rle=encoded,
                mask_size=mask_size,
            )
        )
    return found
