"""What a training image should be segmented into, and a batch of that laid end to end. No loss is computed here."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Target:
    """The true segments of one image; T may be 0."""

    masks: Tensor
    """bool, or float in [0, 1], [T, H, W]; H and W are the padded input's, and masks are 0 in the padding."""

    class_ids: Tensor
    """int64 [T], each from 0 to N - 1: rows of the class weights, never the background."""

    ignore: Tensor | None = None
    """bool [H, W]: pixels of which nothing is known, which no loss and no matching looks at; None: there are none."""

    def __post_init__(self) -> None:
        assert self.masks.ndim == 3, f"masks {tuple(self.masks.shape)}: expected [T, H, W]"
        assert self.masks.dtype == torch.bool or self.masks.is_floating_point(), f"masks of {self.masks.dtype}"
        assert self.class_ids.dtype == torch.int64, f"class ids of {self.class_ids.dtype}"
        assert self.class_ids.shape == self.masks.shape[:1], "one class id a mask"
        assert self.ignore is None or self.ignore.shape == self.masks.shape[1:], "ignored pixels are of the masks' size"

    def __len__(self) -> int:
        return len(self.class_ids)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JoinedTargets:
    """The targets of B images end to end: M masks on one device."""

    counts: tuple[int, ...]
    """Masks of each image, B numbers."""

    masks: Tensor
    """As in `Target`, [M, H, W]."""

    class_ids: Tensor
    """int64 [M]."""

    images: Tensor
    """int64 [M], the image of each mask."""

    places: Tensor
    """int64 [M], the place of each mask among its image's."""

    ignore: Tensor | None
    """bool [B, H, W]: as in `Target`; None where no image of the batch has such pixels."""

    @classmethod
    def of(cls, targets: Sequence[Target], device: torch.device) -> "JoinedTargets":
        """Targets of the images of a batch, in their order, on a device."""
        assert targets, "a batch of no images"
        sizes = {tuple(target.masks.shape[1:]) for target in targets}
        assert len(sizes) == 1, f"masks of one batch share the padded input's size; here are {sorted(sizes)}"
        counts = tuple(len(target) for target in targets)
        numbers = [(image, place) for image, count in enumerate(counts) for place in range(count)]
        # A copy that doesn't wait for the device; torch.tensor(..., device=...) would.
        index = torch.tensor(numbers, dtype=torch.int64).reshape(-1, 2).to(device, non_blocking=True)
        ignored = [
            target.masks.new_zeros(target.masks.shape[1:], dtype=torch.bool) if target.ignore is None else target.ignore
            for target in targets
        ]
        some = any(target.ignore is not None for target in targets)
        return cls(
            counts=counts,
            images=index[:, 0],
            places=index[:, 1],
            masks=torch.cat([target.masks.to(device, non_blocking=True) for target in targets]),
            class_ids=torch.cat([target.class_ids.to(device, non_blocking=True) for target in targets]),
            ignore=torch.stack([one.to(device, non_blocking=True) for one in ignored]) if some else None,
        )

    @property
    def starts(self) -> list[int]:
        """Where each image's masks begin, B numbers."""
        return [sum(self.counts[:image]) for image in range(len(self.counts))]
