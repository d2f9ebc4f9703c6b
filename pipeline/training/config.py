"""What `maskmill train` can be told: frozen, validated groups of options. The recipe's numbers are the recipe's."""

import tempfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from maskmill.models.architecture import Precision
from maskmill.models.denseclip.config import DenseClipConfig
from maskmill.models.errors import UsageError
from maskmill.models.training.recipe import Augmentation, Recipe
from maskmill.models.vocabulary.templates import DEFAULT_TEMPLATES
from maskmill.models.zoo import MODELS
from maskmill.pipeline.config import Device, at_least
from maskmill.pipeline.table.filters import SegmentFilter

STUDENTS = tuple(name for name, spec in MODELS.items() if isinstance(spec.config, DenseClipConfig))
"""Models that `--student` may name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartConfig:
    """Which model trains, and what it starts from."""

    model: str = "san-vit-b16"
    """Model: san-tiny, san-vit-b16 or san-vit-l14."""

    init: str | None = None
    """What to start from: open_clip weights, a SAN checkpoint, or a CLIP under a SAN's names (.safetensors, .pth; path,
    fsspec URL or hf://OWNER/REPO/FILE). Default: OpenAI's CLIP from the hub, with a fresh side adapter."""

    device: Device = "auto"
    """Where workers compute; auto takes a GPU where there is one."""

    dtype: Precision = "float32"
    """Arithmetic: float32; bfloat16 (autocast, what a GPU is fast at); float64 for checks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentConfig:
    """A DenseCLIP to train instead of a SAN, and how labels teach it."""

    student: str | None = None
    """Train a DenseCLIP: denseclip-rn50, denseclip-rn101, denseclip-vit-b, denseclip-tiny; denseclip is the first of
    them. Its classes are the labels' vocabulary, or --vocab. Its recipe doesn't clip gradients (--clip-norm has no
    part in it) and was published with --steps 80000."""

    soft_targets: bool = False
    """Teach each segment's distribution over the classes that its row lists (softmax of the stored logits), not its
    top class alone. Needs --labels."""

    weigh_by_score: bool = False
    """A pixel counts as much as the score of its segment, not 1. Needs --labels."""

    warmup: int | None = None
    """Updates in which the learning rate rises from next to nothing. Default: 1500, or a tenth of --steps if fewer."""

    def __post_init__(self) -> None:
        at_least("--warmup", self.warmup, 0)
        if self.student is None and (self.soft_targets or self.weigh_by_score or self.warmup is not None):
            raise UsageError("--soft-targets, --weigh-by-score, --warmup: are a student's. Name one with --student.")
        if self.student is not None and self.model not in STUDENTS:
            raise UsageError(f"--student {self.student!r}: no such student; students are {', '.join(STUDENTS)}.")

    @property
    def model(self) -> str | None:
        """The student's name among models; None where a SAN trains."""
        return STUDENTS[0] if self.student == DenseClipConfig.family else self.student

    def rise(self, steps: int) -> int:
        """Updates of the warm-up in a training of so many."""
        return min(1500, steps // 10) if self.warmup is None else self.warmup


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What is learnt from, and how crops of it are drawn."""

    vocab: str | None = None
    """Label set that the class ids of the ground truth belong to. Default: the model's; with --labels, their own."""

    truth_ids: Literal["vocabulary", "coco-stuff"] = "vocabulary"
    """What the ground truth's numbers are: ids of the vocabulary, or COCO-Stuff's own, as its PNGs are released."""

    templates: str = DEFAULT_TEMPLATES
    """Prompt template set by name, or a text file with one template a line."""

    leave_out: tuple[str, ...] = ()
    """Names that training never sees: their pixels count as not labeled (with --labels: teach nothing), and they are no
    class."""

    crop: int | None = None
    """Side of the square crops in pixels. Default: the short side of the model's input (640; 128 for san-tiny)."""

    scales: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
    """An image's short side becomes one of these times the crop."""

    keep_colours: bool = False
    """Leave brightness, contrast, saturation and hue alone."""

    keep_sides: bool = False
    """Never mirror images left to right."""

    def augmentation(self, side: int, *, multiple: int) -> Augmentation:
        """The augmentation for a model.

        Args:
            side: short side of its input, in pixels.
            multiple: what its input's sides are multiples of.

        Raises:
            UsageError: a crop that is none.
        """
        crop = side if self.crop is None else self.crop
        if crop % multiple:
            raise UsageError(f"--crop {crop}: expected a multiple of {multiple}.")
        return Augmentation(
            crop=crop,
            scales=tuple(self.scales),
            colour=not self.keep_colours,
            flip=not self.keep_sides,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainJobConfig:
    """Workers, and how often to look at things. Nothing here changes what is learnt, but for rounding."""

    workers: int = 1
    """Processes that share each batch, one a GPU; more than one run on Ray Train."""

    cpus_per_worker: int | None = None
    """CPUs of each worker, for decoding and, without a GPU, for the model. Default: (cores - 1) / workers."""

    log_every: int = 20
    """Updates between two lines of the log."""

    checkpoint_every: int = 1000
    """Updates between checkpoints; a job that dies loses at most so many."""

    validate_every: int = 5000
    """Updates between validations; the end is always validated where --validation names images."""

    validation_batch: int = 8
    """Images of a validation batch."""

    restarts: int = 2
    """How often Ray starts the workers again after one died; they go on from the checkpoint."""

    scratch: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    """Local folder for shards that have to be downloaded; each worker keeps a copy of all."""

    deterministic: bool = False
    """Use only operations that give the same bits each time. On a GPU a few have no such form and still vary."""

    def __post_init__(self) -> None:
        for option in ("workers", "cpus_per_worker", "log_every", "checkpoint_every", "validate_every"):
            at_least(f"--{option.replace('_', '-')}", getattr(self, option), 1)
        at_least("--validation-batch", self.validation_batch, 1)
        at_least("--restarts", self.restarts, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything about one `train` but its output."""

    shards: tuple[str, ...]
    """Arguments that name the training images, as given; with `labels` none means all done shards."""

    labels: str | None = None
    """--output of a `label` to learn from instead of ground truth."""

    shards_at: tuple[str, ...] = ()
    """OLD=NEW: shards that were labeled below OLD, a folder or URL, lie below NEW now."""

    keep: SegmentFilter = field(default_factory=SegmentFilter)
    """Which of its segments count; pixels of the others teach nothing."""

    validation: tuple[str, ...] = ()
    """Arguments that name the validation images, as given."""

    start: StartConfig = field(default_factory=StartConfig)
    """The model and its start."""

    data: DataConfig = field(default_factory=DataConfig)
    """Classes and crops."""

    student: StudentConfig = field(default_factory=StudentConfig)
    """Whether a DenseCLIP trains, and how."""

    recipe: Recipe = field(default_factory=Recipe)
    """Steps, rates, sizes, seed."""

    job: TrainJobConfig = field(default_factory=TrainJobConfig)
    """Workers and intervals."""

    def __post_init__(self) -> None:
        if self.labels is None and self.keep != SegmentFilter():
            options = [one.name for one in fields(self.keep) if getattr(self.keep, one.name) != one.default]
            raise UsageError(
                f"--{options[0].replace('_', '-')}: chooses among labels, and ground truth has none to drop. "
                "Name a label table with --labels."
            )
        if self.labels is None and (self.student.soft_targets or self.student.weigh_by_score):
            raise UsageError(
                "--soft-targets, --weigh-by-score: ground truth has no scores. Name a table with --labels."
            )
        if self.recipe.batch_size % self.job.workers:
            raise UsageError(
                f"--batch-size {self.recipe.batch_size}: expected a multiple of --workers {self.job.workers}, "
                "so that they share it evenly."
            )

    @property
    def model(self) -> str:
        """The model that trains."""
        return self.student.model or self.start.model


Identity = dict[str, Any]
"""What a training's result follows from, as JSON: what OUT/train.json holds."""
