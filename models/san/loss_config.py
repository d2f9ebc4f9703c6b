"""Numbers of SAN's training losses, with the published defaults. Plain data: nothing here imports torch."""

from dataclasses import dataclass

from maskmill.models.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Weights and point counts of the losses; matching weighs its costs with the same three weights.

    Source: SAN's released configuration (after Mask2Former, arXiv 2112.01527, section 3.4).
    """

    class_weight: float = 2.0
    """Weight of the class loss (cross-entropy)."""

    mask_weight: float = 5.0
    """Weight of the mask loss (binary cross-entropy at sampled points)."""

    dice_weight: float = 5.0
    """Weight of the dice loss (at the same points)."""

    no_object_weight: float = 0.1
    """Weight in the class loss of queries that no target was matched with. They are most; 1.0 would drown the rest."""

    points: int = 12544
    """Points of a mask that matching and losses look at; a SAN's own number is `SanConfig.train_num_points`."""

    oversample: float = 3.0
    """Candidates for a mask's loss points are this many times `points`. Higher finds more uncertain ones, and costs."""

    importance: float = 0.75
    """Share of a mask's loss points that are the most uncertain candidates; the rest are uniform."""

    def __post_init__(self) -> None:
        checks = {
            "class_weight": self.class_weight >= 0.0,
            "mask_weight": self.mask_weight >= 0.0,
            "dice_weight": self.dice_weight >= 0.0,
            "no_object_weight": self.no_object_weight > 0.0,
            "points": self.points >= 1,
            "oversample": self.oversample >= 1.0,
            "importance": 0.0 <= self.importance <= 1.0,
        }
        wrong = [f"{name} {getattr(self, name)!r}" for name, fine in checks.items() if not fine]
        if wrong:
            raise UsageError(
                f"SAN losses: {', '.join(wrong)}: expected weights of at least 0 (no_object_weight above 0), "
                "points >= 1, oversample >= 1 and importance from 0 to 1. See models/san/loss_config.py."
            )

    @property
    def candidates(self) -> int:
        """Points of a mask among which the uncertain ones are sought."""
        return int(self.points * self.oversample)

    @property
    def uncertain(self) -> int:
        """Loss points of a mask that are its most uncertain candidates."""
        return int(self.points * self.importance)
