"""What a training step eats: crops with the class of every pixel. Where they come from is not said here."""

from dataclasses import dataclass

import torch
from torch import Tensor

from maskmill.models.san.targets import Target
from maskmill.models.training.augmentation import UNKNOWN


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainingBatch:
    """B crops of one size, which is a multiple of the model's `size_divisibility`."""

    pixels: Tensor
    """uint8 [B, 3, H, W], RGB."""

    class_maps: Tensor
    """int16 [B, H, W]: row of the class features at every pixel; negative where nobody labeled it, `UNKNOWN` where
    losses shall not look."""

    classes: tuple[tuple[int, ...], ...]
    """The rows that occur in each class map, ascending; known without asking the device."""

    seeds: tuple[int, ...]
    """What each crop's random points follow from."""

    unknown: bool = False
    """Whether some pixels are `UNKNOWN`; known without asking the device."""

    def __len__(self) -> int:
        return len(self.seeds)

    def to(self, device: torch.device) -> "TrainingBatch":
        """The batch with its pixels and maps on a device."""
        return TrainingBatch(
            pixels=self.pixels.to(device, non_blocking=True),
            class_maps=self.class_maps.to(device, non_blocking=True),
            classes=self.classes,
            seeds=self.seeds,
            unknown=self.unknown,
        )

    def targets(self) -> list[Target]:
        """One mask for each class of each crop, as semantic segmentation is taught; unlabeled pixels are in none."""
        found = []
        for class_map, classes in zip(self.class_maps, self.classes, strict=True):
            ids = torch.tensor(classes, dtype=torch.int64)
            wanted = ids.to(class_map.device, class_map.dtype, non_blocking=True)
            ignore = class_map == UNKNOWN if self.unknown else None
            found.append(Target(masks=class_map[None] == wanted[:, None, None], class_ids=ids, ignore=ignore))
        return found
