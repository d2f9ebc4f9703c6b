"""What `maskmill bench` can be told: one frozen group of options, checked when it is made."""

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from maskmill.models.agreement.views import views_of
from maskmill.models.architecture import Form
from maskmill.models.errors import UsageError
from maskmill.models.windows import check_scale
from maskmill.pipeline.config import Device, Dtype, at_least
from maskmill.pipeline.reading.decoding import Decoder, DecodingConfig, Resize

Group = Literal["floor", "model", "parts", "stages", "shard", "feeding"]
"""What is measured: the machine's own rates; the model whole; each part of it apart; what stands before and after it in
a replica, apart; a whole shard; a replica whose model is a constant."""

GROUPS: tuple[Group, ...] = ("floor", "model", "parts", "stages", "shard", "feeding")
"""All of them, in the order in which they run."""

RANDOM = "random"
"""The value of --weights that asks for a model without trained weights."""

MIX = "mix"
"""The value of --image that asks for many sizes (pipeline.bench.mix)."""

MIX_SIZE = (960, 1280)
"""Height, width of what stands for the mix where one size is wanted."""

LEAST_REPEATS = 3
"""Runs that a median is taken of, at least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchConfig:
    """What is measured, and how often."""

    model: str = "san-vit-b16"
    """Segmenter: san-vit-b16, san-vit-l14 or san-tiny."""

    weights: str | None = None
    """Checkpoint as in `label`, or the word random: weights by a rule, for where the released ones can't be had."""

    device: Device = "auto"
    """Where the model computes; auto takes a GPU where there is one."""

    dtype: Dtype = "float32"
    """Precision of the model, and of the product that is its floor."""

    threads: int | None = None
    """Threads of PyTorch and of decoding. Default: the CPUs that this process may use."""

    inference: Form = "general"
    """Form in which segments are made."""

    size: int | None = None
    """Short side of the model's input in pixels. Default: the model's, 640 for the published ones."""

    batch_size: int | None = None
    """Images the model takes at once. Default: 8 on a CPU, 32 on a GPU."""

    compile: bool = False
    """Compile the model for what is measured, as in `label`; parts of the forward pass are measured as without it."""

    repeats: int = 5
    """Runs of each measurement after a warm-up, at least; 3 or more."""

    names: int | None = None
    """Ask about this many made-up names with random text features. Default: the model's label set (171 made-up names
    where the weights are random)."""

    image: str = "1280x960"
    """Width x height of the JPEGs that are made up where no SHARDS are given; or mix: many sizes, as on the web."""

    samples: int | None = None
    """JPEGs in the made-up shard. Default: 4 batches on a CPU, 32 on a GPU."""

    windows: float | None = None
    """Measure the model with sliding windows too, of this scale as in `label` (in semantic form), beside it without."""

    parts: tuple[Group, ...] = ()
    """Measure this alone (may be given several times). Default: all."""

    agreement: str | None = None
    """Also the model with its segments held against other views of the image, as in `label`: flip, scale or flip,scale.
    """

    shard_sizes: tuple[int, ...] = ()
    """Also the peak memory of a replica, in a process of its own, over a shard of so many samples (may be given several
    times: 1000 and 10000 tell whether memory grows with the shard)."""

    decoder: Decoder = "simplejpeg"
    """Who decodes, as in `label`."""

    scaled_decoding: bool = False
    """Decode large JPEGs at 1/2, 1/4 or 1/8, as in `label`."""

    resize: Resize = "pillow"
    """Who resizes on a CPU, as in `label`."""

    gpu_rate: float = 2000.0
    """Images/s of a GPU whose feeding is told in cores, beside the rate measured here."""

    profile: Path | None = None
    """Also write PyTorch's profile of one batch with its segments to this file: a table of operators, dearest first."""

    scratch: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    """Local folder for made-up shards and label files; emptied afterwards."""

    def __post_init__(self) -> None:
        at_least("--repeats", self.repeats, LEAST_REPEATS)
        for option in ("threads", "size", "batch_size", "names", "samples"):
            at_least(f"--{option.replace('_', '-')}", getattr(self, option), 1)
        if self.windows is not None:
            check_scale(self.windows)
        for samples in self.shard_sizes:
            at_least("--shard-sizes", samples, 1)
        if not self.gpu_rate > 0:
            raise UsageError(f"--gpu-rate {self.gpu_rate}: expected images/s above 0.")
        if self.profile is not None and not self.profile.absolute().parent.is_dir():
            raise UsageError(f"--profile {str(self.profile)!r}: its folder isn't there. Make it first.")
        _ = self.image_size, views_of(self.agreement), self.decoding

    @property
    def decoding(self) -> DecodingConfig:
        """Who decodes and resizes.

        Raises:
            UsageError: options that exclude one another.
        """
        return DecodingConfig(decoder=self.decoder, scaled_decoding=self.scaled_decoding, resize=self.resize)

    @property
    def groups(self) -> tuple[Group, ...]:
        """What is measured, in the order in which it runs."""
        return tuple(group for group in GROUPS if not self.parts or group in self.parts)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height, width of the made-up JPEGs, and of one from among the mix.

        Raises:
            UsageError: `image` is neither WIDTHxHEIGHT, each between 16 and 8192, nor the word for a mix.
        """
        if self.image == MIX:
            return MIX_SIZE
        found = re.fullmatch(r"(\d{2,4})x(\d{2,4})", self.image)
        if found:
            width, height = (int(side) for side in found.groups())
            if min(width, height) >= 16 and max(width, height) <= 8192:
                return height, width
        raise UsageError(
            f"--image {self.image!r}: expected WIDTHxHEIGHT, each from 16 to 8192, such as 1280x960, or {MIX}."
        )
