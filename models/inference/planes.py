"""The full-size part of a batch's segments: masks, their tallies and who holds each pixel. It waits for no device."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from maskmill.models.inference.layout import Chunk, Layout
from maskmill.models.inference.upsample import GPU_BAND_ELEMENTS, largest, turned

TALLIES = 4
"""Numbers of a mask: pixels, pixels at logit 1 and at -1 or more, sum of the foreground probabilities."""


Measure = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""The signature of `measured`."""


class Planes:
    """Label planes of a batch, made chunk by chunk where the logits live.

    Args:
        mask_logits: [rows, h, w] at the model's stride, of all queries of all images.
        dtype: float32 or float64, in which masks are made.
        layout: what there is to make.
        rows: `layout.rows` on the device.
        slots: `layout.slots` on the device.
        scores: [K] of that type, by which masks are weighed where several compete.
        measure: `measured`, or the same compiled.
    """

    def __init__(
        self,
        mask_logits: Tensor,
        dtype: torch.dtype,
        layout: Layout,
        *,
        rows: Tensor,
        slots: Tensor,
        scores: Tensor,
        measure: Measure,
    ) -> None:
        self._mask_logits, self._dtype, self._rows = mask_logits, dtype, rows
        self._layout = layout
        kind = torch.uint8 if layout.labels <= torch.iinfo(torch.uint8).max else torch.int16
        nobody = torch.full((), layout.labels - 1, dtype=kind, device=mask_logits.device)
        self.labels = torch.empty(int(layout.pixels.sum()), dtype=kind, device=mask_logits.device)
        """[all pixels], planes one after the other and column by column; the last label is nobody's."""
        self.tallies = torch.empty(len(slots), TALLIES, dtype=torch.float64, device=mask_logits.device)
        """Of the mask in each slot."""
        for chunk in layout.chunks:
            masks = chunk.size * chunk.slots
            taken = slots[chunk.start : chunk.start + masks]
            padding = taken < 0
            pairs = torch.where(padding, ~taken, taken)
            weights = scores[pairs].masked_fill(padding, 0.0)
            shape = (chunk.size, chunk.slots)
            logits = self._full_size(pairs, chunk)
            labels, tallies = measure(logits.view(*shape, *logits.shape[1:]), weights.view(shape), nobody)
            self.labels[chunk.pixels] = labels.flatten()
            self.tallies[chunk.start : chunk.start + masks] = tallies.flatten(0, 1)

    def shared(self, chunk: Chunk, planes: Tensor, pairs: Tensor, members: Tensor) -> Tensor:
        """How many pixels of its own mask a pair's segment holds, where that is of several labels.

        Args:
            chunk: where they are.
            planes: int64 [L], each one's plane within the chunk.
            pairs: int64 [L].
            members: bool [L, labels], the labels of its segment.

        Returns:
            int64 [L].
        """
        labels = self.labels[chunk.pixels].view(chunk.size, -1)
        at_once = max(1, GPU_BAND_ELEMENTS // largest(chunk.geometry))
        counts = []
        parts: Iterable[tuple[Tensor, ...]] = zip(
            *(torch.split(one, at_once) for one in (planes, pairs, members)), strict=True
        )
        for where, which, own_labels in parts:
            own = self._full_size(which, chunk).sigmoid_() >= 0.5
            holds = own_labels.gather(1, labels[where].long())
            counts.append((own.flatten(1) & holds).sum(1))
        return torch.cat(counts)

    def _full_size(self, pairs: Tensor, chunk: Chunk) -> Tensor:
        return turned(self._mask_logits[self._rows[pairs]].to(self._dtype), chunk.geometry)


def measured(logits: Tensor, weights: Tensor, nobody: Tensor) -> tuple[Tensor, Tensor]:
    """Who holds each pixel, and the tallies of each mask.

    A pixel goes to the highest weight x mask probability, of equal ones the first, if it is in that one's own mask,
    where the probability is at least 0.5.

    Rows are added up before columns, so that a device has enough to add side by side however few masks there are. The
    sum of probabilities doesn't depend on the order in which a device adds them: in float32 a number from 0.5 to
    1 is a multiple of 2^-24, so that float64 holds the sum of 2^29 of them exactly.

    Args:
        logits: [M, S, W, H] of S masks of M planes.
        weights: [M, S]; 0 for a slot that only fills up, which holds nothing as it comes after a real one.
        nobody: [], the label of pixels that none holds, S or more, of the type that labels shall have.

    Returns:
        [M, W, H] of that type and float64 [M, S, `TALLIES`].
    """
    probabilities = logits.sigmoid()
    own = probabilities >= 0.5
    tallies = torch.stack(
        (
            own.sum(3).sum(2).double(),
            (logits >= 1).sum(3).sum(2).double(),
            (logits >= -1).sum(3).sum(2).double(),
            (probabilities * own).sum(3, dtype=torch.float64).sum(2),
        ),
        dim=2,
    )
    if logits.shape[1] == 1:
        return torch.where(own[:, 0], 0, nobody).to(nobody.dtype), tallies
    winner = probabilities.mul_(weights[..., None, None]).max(1, keepdim=True).indices
    return torch.where(own.gather(1, winner), winner, nobody)[:, 0].to(nobody.dtype), tallies
