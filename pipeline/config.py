"""What `maskmill label` can be told: frozen, validated groups of options. Reading's limits are reading's."""

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from maskmill.models.agreement.views import View, views_of
from maskmill.models.architecture import Form
from maskmill.models.errors import UsageError
from maskmill.models.inference.forms import GeneralInference, Inference, QueriesInference, SemanticInference, offered
from maskmill.models.zoo import MODELS, spec_of
from maskmill.pipeline.ledger.tolerance import Tolerance
from maskmill.pipeline.reading.decoding import DecodingConfig
from maskmill.pipeline.reading.limits import ReadLimits

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["float32", "bfloat16"]


def at_least(option: str, value: int | None, least: int) -> None:
    """Refuse an option's value below a bound; None stands for a default and passes.

    Raises:
        UsageError: it is below.
    """
    if value is not None and value < least:
        raise UsageError(f"{option} {value}: expected {least} or more.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Which segmenter labels, with which weights, computing where."""

    model: str = "san-vit-b16"
    """Segmenter: san-vit-b16, san-vit-l14, or san-tiny for the scenes of `synthesize`; with --weights also
    denseclip-rn50, denseclip-rn101, denseclip-vit-b, denseclip-tiny."""

    weights: str | None = None
    """Checkpoint (.pth, .safetensors): a path, any fsspec URL, or hf://OWNER/REPO/FILE. Default: those released."""

    device: Device = "auto"
    """Where replicas compute; auto takes a GPU where the cluster has one."""

    dtype: Dtype = "float32"
    """Precision of the model; bfloat16 is faster on a GPU and moves labels near thresholds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VocabularyConfig:
    """What every image is asked about."""

    vocab: str | None = None
    """Label set by name, or a file or URL: text with one name a line, YAML, JSON. Default: the model's label set.
    DenseCLIP reads any names, as many as its weights have classes, of three tokens at most; each takes the place of the
    class that was taught under its id."""

    templates: str | None = None
    """Prompt template set by name, or a text file with one template a line, each with one {}. Default: the model's,
    vild14 for SAN; DenseCLIP takes no other than its own bare."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InferenceConfig:
    """How masks and class logits become segments."""

    inference: Form | None = None
    """general: segments don't overlap; semantic: one segment a class; queries: whole masks that may overlap. Default:
    the model's, general for SAN; DenseCLIP offers semantic alone."""

    score_threshold: float = 0.5
    """Keep a query when its top class has at least this probability (general, queries)."""

    overlap_threshold: float = 0.8
    """Keep a segment that holds on to at least this share of its query's own mask (general)."""

    top_k: int = 5
    """Classes and logits stored for each segment."""

    mask_side: int = 1024
    """Longest side of the stored masks in pixels; smaller images keep their size."""

    soft_masks: bool = False
    """Store each segment's mask logits too, as int8 at the model's stride (general, queries)."""

    windows: float | None = None
    """For photos larger than the model's input (SAN, with --inference semantic): look at them at up to so many times
    the usual size, above 1 and up to 4, though never enlarged, through square windows that overlap by a third, and
    average what these say of each pixel. Images that are no larger are labeled as without it. Better where a photo
    shows many things, worse where one is larger than a window, and many times the price, which is printed first.
    Larger masks need --mask-side too. Default: each image whole."""

    agreement: str | None = None
    """Label other views of each image too, and store with each segment how far it agrees with them (mean IoU): flip
    (mirrored), scale (0.75 of the size) or flip,scale. Labels stay the same; each view costs another pass of the model.
    """

    def __post_init__(self) -> None:
        at_least("--top-k", self.top_k, 1)
        at_least("--mask-side", self.mask_side, 1)
        if self.soft_masks and self.inference == "semantic":
            raise UsageError(
                "--soft-masks with --inference semantic: a class has no mask of its own. Use general or queries."
            )
        if self.windows is not None and self.soft_masks:
            raise UsageError("--soft-masks with --windows: a class has no mask of its own. Leave one of them out.")
        self.form()
        _ = self.views

    @property
    def views(self) -> tuple[View, ...]:
        """The views that agreement is asked with.

        Raises:
            UsageError: a name that is none.
        """
        return views_of(self.agreement)

    def form(self, default: Form = "general") -> Inference:
        """The inference form with the thresholds it takes; `default` is the model's own, for who named none."""
        form = self.inference or default
        if form == "general":
            return GeneralInference(score_threshold=self.score_threshold, overlap_threshold=self.overlap_threshold)
        if form == "queries":
            return QueriesInference(score_threshold=self.score_threshold)
        return SemanticInference()


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaConfig:
    """How many replicas label, and what each takes of its machine. Nothing here changes labels."""

    replicas: str | None = None
    """Replicas, N or MIN:MAX to let Ray scale between them. Default: one a GPU, or one where there is no GPU."""

    cpus_per_replica: int | None = None
    """CPUs of each replica, for decoding and, without a GPU, for the model. Default: (cores - 1) / replicas."""

    batch_size: int | None = None
    """Images the model takes at once. Default: 8 on a CPU, 32 on a GPU."""

    compile: bool = False
    """Compile the model (SAN) for full batches of photos of usual proportions before the first shard: minutes for each
    replica, for a GPU and a long job; numbers move by rounding, as on another device. On a CPU it gains little."""

    scratch: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    """Local folder for shards on their way in and label files on their way out."""

    stall_seconds: float = 900.0
    """A replica with shards in work that gets on with none of them for so long is started anew, and they are tried
    again. Must be longer than a batch takes: 8 images of san-vit-l14 on one slow CPU core take minutes."""

    def __post_init__(self) -> None:
        self.bounds()
        if not 1.0 <= self.stall_seconds <= 86_400.0:
            raise UsageError(f"--stall-seconds {self.stall_seconds}: expected seconds between 1 and 86400.")
        at_least("--cpus-per-replica", self.cpus_per_replica, 1)
        at_least("--batch-size", self.batch_size, 1)

    def bounds(self) -> tuple[int, int] | None:
        """Least and most replicas; None where the default applies.

        Raises:
            UsageError: `replicas` is neither N nor MIN:MAX with 1 <= MIN <= MAX.
        """
        if self.replicas is None:
            return None
        parts = self.replicas.split(":")
        if len(parts) <= 2 and all(part.isdecimal() for part in parts):
            low, high = int(parts[0]), int(parts[-1])
            if 1 <= low <= high:
                return low, high
        raise UsageError(f"--replicas {self.replicas!r}: expected N or MIN:MAX with 1 <= MIN <= MAX, such as 8 or 1:8.")


@dataclass(frozen=True, kw_only=True, slots=True)
class JobConfig:
    """What of the input to take, and when to give a shard up."""

    limit: int | None = None
    """Take only the first N shards: what to try first on a new bucket."""

    dry_run: bool = False
    """List what would be done, and do nothing."""

    max_failed_samples: float = 0.5
    """A shard with more than this share of failed samples is a failed shard."""

    max_failed_shards: str = "0.1"
    """A job with more failed shards ends early, with exit code 3: a count such as 20, or a share of the shards that
    ended such as 0.1, which counts from 50 failed ones on. Shards that had failed in an earlier job don't count."""

    def __post_init__(self) -> None:
        at_least("--limit", self.limit, 1)
        Tolerance.of(self.max_failed_shards)
        if not 0.0 <= self.max_failed_samples <= 1.0:
            raise UsageError(f"--max-failed-samples {self.max_failed_samples}: expected a share between 0 and 1.")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelConfig:
    """Everything about one `label` but its shards and its output; saved into run.json."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The segmenter."""

    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    """The names asked about."""

    inference: InferenceConfig = field(default_factory=InferenceConfig)
    """The form and its thresholds."""

    limits: ReadLimits = field(default_factory=ReadLimits)
    """What of a shard is refused unread, and which members are image and caption."""

    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    """Who decodes and resizes images."""

    replica: ReplicaConfig = field(default_factory=ReplicaConfig)
    """Replicas and their resources."""

    job: JobConfig = field(default_factory=JobConfig)
    """What to take and when to give up."""

    @property
    def form(self) -> Form:
        """The inference form: the one asked for, else the first that the model offers."""
        return self.inference.inference or MODELS[self.model.model].config.forms[0]

    @property
    def templates(self) -> str:
        """The prompt templates: those asked for, else the model's."""
        return self.vocabulary.templates or MODELS[self.model.model].config.templates

    def check_model(self) -> None:
        """Refuse a model that doesn't exist, and what an existing one doesn't offer.

        Raises:
            UsageError: either.
        """
        spec = spec_of(self.model.model)
        spec.check_windows(self.inference.windows)
        if self.replica.compile and not spec.config.compiles:
            raise UsageError(f"--compile: {spec.name} isn't compiled, SAN models are. Leave it out.")
        if self.inference.windows is not None and self.form != "semantic":
            raise UsageError(
                f"--windows with --inference {self.form}: class probabilities of several windows can be averaged, "
                "queries of theirs can't. Add --inference semantic."
            )
        offered(self.inference.form(self.form), spec.config.forms, spec.name)
        if self.inference.soft_masks and self.form == "semantic":
            raise UsageError(f"--soft-masks: {spec.name} has no queries, and no mask logits of theirs. Leave it out.")


def machine_cpus() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
