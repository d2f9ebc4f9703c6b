"""Numbers of SAN's training, published ones by default. Plain data: nothing here imports torch."""

from dataclasses import dataclass

from maskmill.models.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How long and how fast SAN trains.

    Source: SAN (arXiv 2302.12242), section 4.1, and its released configuration.
    """

    steps: int = 60_000
    """Updates of the weights."""

    batch_size: int = 32
    """Images of an update, over all workers."""

    learning_rate: float = 1e-4
    """AdamW's step size at the start; it falls to 0 by a power of the share of steps that is left."""

    power: float = 0.9
    """That power; 1 falls linearly."""

    weight_decay: float = 1e-4
    """AdamW's decay of weights; embeddings and the ViT's norms don't decay."""

    clip_norm: float = 0.01
    """Gradients are scaled down to this norm over the whole model; higher follows rare images further."""

    seed: int = 0
    """Of the order of samples, augmentation, points, and the fresh side adapter."""

    def __post_init__(self) -> None:
        wrong = {
            "--steps": self.steps < 1,
            "--batch-size": self.batch_size < 1,
            "--learning-rate": not self.learning_rate > 0,
            "--power": self.power < 0,
            "--weight-decay": self.weight_decay < 0,
            "--clip-norm": not self.clip_norm > 0,
            "--seed": self.seed < 0,
        }
        for option, bad in wrong.items():
            if bad:
                value = getattr(self, option.removeprefix("--").replace("-", "_"))
                raise UsageError(f"{option} {value}: expected a number above 0 (0 or more for decay, power and seed).")

    def rate(self, step: int) -> float:
        """The learning rate of update `step`, counted from 0."""
        return float(self.learning_rate * (1.0 - step / self.steps) ** self.power)


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What is drawn anew for every sample of every epoch.

    Source: SAN's released configuration (Mask2Former's semantic mapper with the SSD's colours).
    """

    crop: int = 640
    """Side of the square crops in pixels; smaller images are padded."""

    scales: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
    """An image's short side is resized to one of these times `crop`."""

    long_side_cap: int = 4
    """The long side never exceeds this many times `crop`."""

    colour: bool = True
    """Change brightness, contrast, saturation and hue, each of half of the images."""

    flip: bool = True
    """Mirror half of the images left to right."""

    def __post_init__(self) -> None:
        if self.crop < 1:
            raise UsageError(f"--crop {self.crop}: expected 1 pixel or more.")
        if not self.scales or min(self.scales) <= 0:
            raise UsageError(f"--scales {self.scales}: expected shares above 0, such as 0.5 1.0 1.5.")
