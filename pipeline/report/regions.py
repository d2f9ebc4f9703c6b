"""The masks of a picture as the page's script reads them: labels and ground truth, named, coloured, at one size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from maskmill.models.masks import rle
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.report.page import short
from maskmill.pipeline.showing.palette import Colour

SEGMENTS = 60
"""Segments of a picture, the largest ones; classes of its truth likewise."""

NAME = 100
"""Characters of a class name that a page shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Regions:
    """What the masks of one picture have in common."""

    vocabulary: Vocabulary
    """Names their classes."""

    palette: Mapping[int, Colour]
    """Vocabulary id -> colour, the same for labels and truth."""

    iou: Mapping[int, float]
    """Vocabulary id -> IoU with the ground truth in this image; empty without one."""

    def labels(
        self,
        row: Mapping[str, Any],
        shown: Sequence[int],
        masks: Mapping[int, NDArray[np.bool_]],
        size: tuple[int, int],
    ) -> list[dict[str, Any]]:
        """Segments of a row.

        Args:
            row: of the label table.
            shown: which of its segments.
            masks: of these, as they are stored.
            size: (width, height) of the picture.
        """
        pixels = row["mask_width"] * row["mask_height"]
        return [
            self._region(segment["vocab_id"], segment["area"] / pixels, run_lengths)
            | {name: rounded(segment[name]) for name in ("score", "margin", "stability", "kept", "agreement")}
            for segment, run_lengths in zip(
                (row["segments"][place] for place in shown),
                _scaled([masks[place] for place in shown], size),
                strict=True,
            )
        ]

    def truth(self, truth: NDArray[np.int32], ids: Sequence[int], size: tuple[int, int]) -> list[dict[str, Any]]:
        """Classes `ids` of a ground truth [height, width], at the size (width, height) of the picture."""
        masks = [truth == vocab_id for vocab_id in ids]
        return [
            self._region(vocab_id, float(mask.mean()), run_lengths)
            for vocab_id, mask, run_lengths in zip(ids, masks, _scaled(masks, size), strict=True)
        ]

    def _region(self, vocab_id: int, share: float, run_lengths: str) -> dict[str, Any]:
        known = 0 <= vocab_id < len(self.vocabulary)
        return {
            "id": vocab_id,
            "name": short(self.vocabulary[vocab_id].name, NAME) if known else f"id {vocab_id}",
            "share": round(share, 5),
            "iou": rounded(self.iou.get(vocab_id)),
            "colour": "#{:02x}{:02x}{:02x}".format(*self.palette[vocab_id]),
            "rle": run_lengths,
        }


def classes_of(truth: NDArray[np.int32]) -> list[int]:
    """Classes of a ground truth, the largest first, `SEGMENTS` at most."""
    ids, pixels = np.unique(truth[truth >= 0], return_counts=True)
    found: list[int] = ids[np.argsort(-pixels, kind="stable")][:SEGMENTS].tolist()
    return found


def rounded(value: float | None) -> float | None:
    """A number for the page; None where it is none."""
    return None if value is None or not math.isfinite(value) else round(value, 4)


def _scaled(masks: Sequence[NDArray[np.bool_]], size: tuple[int, int]) -> list[str]:
    """Run lengths of masks, each stretched to (width, height)."""
    if not masks:
        return []
    scaled = np.stack([np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)) for mask in masks])
    return [run_lengths.decode("ascii") for run_lengths in rle.encode(torch.from_numpy(scaled))]
