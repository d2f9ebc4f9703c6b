"""The models that have a name, and how one gets its weights and its device. Importing this needs no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from maskmill.models import arguments
from maskmill.models.architecture import Architecture, Precision
from maskmill.models.denseclip.config import DENSECLIP_RN50, DENSECLIP_RN101, DENSECLIP_TINY, DENSECLIP_VIT_B
from maskmill.models.errors import UsageError
from maskmill.models.families import family_of
from maskmill.models.san.config import SAN_TINY, SAN_VIT_B16, SAN_VIT_L14
from maskmill.models.windows import check_scale, third_overlapping

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from maskmill.models.resize import ResizeRule
    from maskmill.models.segmenter import Segmenter


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """A named model."""

    name: str
    """As in `maskmill label --model`."""

    config: Architecture
    """All sizes, and with them the family."""

    short_side: int
    """Images are resized to this short side, in pixels."""

    long_side_cap: int
    """The resized long side never exceeds this, in pixels."""

    default_vocabulary: str
    """Label set that is asked about when the user names none."""

    default_weights: str | None
    """Where the weights come from when the user names none; None where they have to be named."""

    weights_page: str
    """Where somebody who has to name them finds them."""

    summary: str
    """One line for `--help` and lists."""

    @property
    def rule(self) -> "ResizeRule":
        """How an image becomes this model's input."""
        from maskmill.models.resize import ResizeRule

        return ResizeRule(
            short_side=self.short_side, long_side_cap=self.long_side_cap, multiple=self.config.size_divisibility
        )

    def rule_with(self, windows: float | None) -> "ResizeRule":
        """The rule with sliding windows of a scale; the model's own for None."""
        from maskmill.models.resize import SlidingRule

        return self.rule if windows is None else SlidingRule(**asdict(self.rule), scale=windows)

    def sliding(self, windows: float | None) -> str | None:
        """What a run's identity says of sliding windows; None where images are looked at whole."""
        if windows is None:
            return self.config.sliding
        return f"{third_overlapping(self.short_side)} of images up to {windows:g} times their usual size"

    def source(self, weights: str | None) -> str:
        """Where the weights come from: those named, else the default.

        Raises:
            UsageError: none are named, and there is no default.
        """
        source = self.default_weights if weights is None else weights
        if source is None:
            known = f"Its weights are at {self.weights_page}: name a file."
            raise UsageError(f"--weights: none given, and {self.name} has no default. {known}")
        return source

    def check_windows(self, windows: float | None) -> None:
        """Refuse sliding windows of a scale that makes none, or of a model that can't be asked for them.

        Raises:
            UsageError: either.
        """
        if windows is None:
            return
        check_scale(windows)
        if not self.config.takes_windows:
            slides = f"slides by itself, {self.config.sliding}" if self.config.sliding else "has none"
            raise UsageError(f"--windows {windows:g}: {self.name} {slides}. Leave it out.")


_SAN_PAGE = "https://huggingface.co/Mendel192/san"
_DENSECLIP_PAGE = "https://github.com/raoyongming/DenseCLIP"

MODELS: Mapping[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name="san-vit-b16",
            config=SAN_VIT_B16,
            short_side=640,
            long_side_cap=2560,
            default_vocabulary="coco-stuff-171",
            default_weights="hf://Mendel192/san/san_vit_b_16.pth",
            weights_page=_SAN_PAGE,
            summary="The published SAN on CLIP ViT-B/16: 41.9 mIoU on COCO-Stuff, 63 GMAC for a 640 x 640 image.",
        ),
        ModelSpec(
            name="san-vit-l14",
            config=SAN_VIT_L14,
            short_side=640,
            long_side_cap=2560,
            default_vocabulary="coco-stuff-171",
            default_weights="hf://Mendel192/san/san_vit_large_14.pth",
            weights_page=_SAN_PAGE,
            summary="The published SAN on CLIP ViT-L/14: 45.6 mIoU on COCO-Stuff, 397 GMAC for a 640 x 640 image.",
        ),
        ModelSpec(
            name="san-tiny",
            config=SAN_TINY,
            short_side=128,
            long_side_cap=512,
            default_vocabulary="scenes",
            default_weights=str(Path(__file__).parent / "san" / "data" / "san-tiny.safetensors"),
            weights_page="the package itself",
            summary="A small SAN that ships with maskmill, for the scenes of `maskmill synthesize` and their words.",
        ),
        ModelSpec(
            name="denseclip-rn50",
            config=DENSECLIP_RN50,
            short_side=512,
            long_side_cap=2048,
            default_vocabulary="ade-150-short",
            default_weights=None,
            weights_page=_DENSECLIP_PAGE,
            summary="The published DenseCLIP on CLIP ResNet-50, closed names: 43.5 mIoU on ADE20K, 67 GMAC a window.",
        ),
        ModelSpec(
            name="denseclip-rn101",
            config=DENSECLIP_RN101,
            short_side=512,
            long_side_cap=2048,
            default_vocabulary="ade-150-short",
            default_weights=None,
            weights_page=_DENSECLIP_PAGE,
            summary="The published DenseCLIP on CLIP ResNet-101, closed names: 45.1 mIoU on ADE20K, 86 GMAC a window.",
        ),
        ModelSpec(
            name="denseclip-vit-b",
            config=DENSECLIP_VIT_B,
            short_side=640,
            long_side_cap=2048,
            default_vocabulary="ade-150-short",
            default_weights=None,
            weights_page=_DENSECLIP_PAGE,
            summary="The published DenseCLIP on CLIP ViT-B/16, closed names: 50.6 mIoU on ADE20K, 266 GMAC a window.",
        ),
        ModelSpec(
            name="denseclip-tiny",
            config=DENSECLIP_TINY,
            short_side=128,
            long_side_cap=512,
            default_vocabulary="scenes",
            default_weights=None,
            weights_page="what `maskmill train` leaves",
            summary="A small DenseCLIP for the scenes of `maskmill synthesize`, to be trained.",
        ),
    )
}
"""Models by name."""


def load(
    name: str,
    *,
    weights: str | PathLike[str] | None = None,
    device: str = "auto",
    dtype: Precision = "float32",
    windows: float | None = None,
) -> "Segmenter":
    """A segmenter by name, ready to label.

    Args:
        name: one of `MODELS`.
        weights: a file, an fsspec URL or hf://OWNER/REPO/FILE; the model's default where None.
        device: `auto` (CUDA where there is one), `cpu` or `cuda`.
        dtype: arithmetic of the model.
        windows: look at larger images through sliding windows, at up to so many times their usual size (SAN, in
            semantic form); None: whole.

    Raises:
        UsageError: an unknown name, weights that don't fit, a device that isn't there, or windows that can't be had.
        EnvironmentFailure: the weights' store or hub doesn't answer.
    """
    from maskmill.models import checkpoint

    spec = spec_of(name)
    if windows is not None:
        arguments.number("windows", windows)
    spec.check_windows(windows)
    _check_dtype(dtype)
    target = pick_device(device)
    source = spec.source(None if weights is None else arguments.location("weights", weights))
    state = checkpoint.load(source)
    segmenter = build(
        spec.config.fitted_to(state), state, name=name, rule=spec.rule, device=target, dtype=dtype, source=source
    )
    segmenter.settle()
    return segmenter if windows is None else family_of(spec.config).slide(segmenter, windows)


def spec_of(name: str) -> ModelSpec:
    """The model of this name; UsageError where there is none."""
    if not isinstance(name, str) or name not in MODELS:
        raise UsageError(f"--model {name!r}: no such model. Models are {', '.join(MODELS)}.")
    return MODELS[name]


def shapes(config: Architecture) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors that a model of this configuration needs."""
    return {name: tuple(tensor.shape) for name, tensor in family_of(config).empty().state_dict().items()}


def build(
    config: Architecture,
    state: "Mapping[str, Tensor]",
    *,
    name: str | None = None,
    rule: "ResizeRule | None" = None,
    device: "torch.device | str" = "cpu",
    dtype: Precision = "float32",
    source: str = "state",
) -> "Segmenter":
    """A segmenter of any configuration from tensors under the released names.

    Args:
        config: all sizes.
        state: the tensors; buffers of the released checkpoints that nothing reads may be among them. They are taken,
            not copied.
        name: what the segmenter calls itself; the family's name by default.
        rule: how images become input; SAN's published sizes with the configuration's multiple by default.
        device: where it computes.
        dtype: its arithmetic. Float32 is never TF32: that is switched off for the process.
        source: where the tensors come from, for errors.

    Raises:
        UsageError: names or shapes differ from the configuration's.
    """
    import torch

    from maskmill.models import checkpoint
    from maskmill.models.resize import ResizeRule

    _check_dtype(dtype)
    _exact_products()
    family = family_of(config)
    model = family.empty()
    own = family.fitted(state, source=source)
    model.load_state_dict(own, assign=True)
    model.to(device=torch.device(device), dtype=torch.float64 if dtype == "float64" else torch.float32).eval()
    return family.segmenter(
        model,
        name=config.family if name is None else name,
        weights=checkpoint.weights_hash(own),
        rule=ResizeRule(multiple=config.size_divisibility) if rule is None else rule,
        dtype=dtype,
    )


def _check_dtype(dtype: object) -> None:
    if dtype not in ("float32", "bfloat16", "float64"):
        raise UsageError(f"--dtype {dtype!r}: expected float32, bfloat16 or float64.")


def _exact_products() -> None:
    """Float32 is float32, and bfloat16 products are added up in float32, whatever this process was told before.

    PyTorch's own default lets cuDNN compute float32 in TF32, 1e-3 apart, and lets products of bfloat16 be added up in
    bfloat16 where a GPU splits a sum.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def pick_device(device: str) -> "torch.device":
    """The device that `auto`, `cpu` or `cuda` means here."""
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device!r}: expected auto, cpu or cuda.")
    present = torch.cuda.is_available()
    if device == "cuda" and not present:
        raise UsageError("--device 'cuda': there is no CUDA device here. Use --device cpu, or auto.")
    return torch.device("cuda" if device == "cuda" or (device == "auto" and present) else "cpu")
