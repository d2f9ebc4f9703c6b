"""Who decodes and resizes images, as a user chooses it; what of it labels depend on. Decoding itself is in images."""

from dataclasses import dataclass
from typing import Literal

from maskmill.models.errors import UsageError

Decoder = Literal["simplejpeg", "pillow", "nvjpeg"]
"""simplejpeg: JPEGs by libjpeg-turbo without a detour, with Pillow's pixels; nvjpeg: on the replica's GPU."""

Resize = Literal["pillow", "torch"]
"""Whose resizing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingConfig:
    """How image bytes become the model's pixels."""

    decoder: Decoder = "simplejpeg"
    """simplejpeg: libjpeg-turbo decodes JPEGs, Pillow the rest, with Pillow's pixels; pillow: all by Pillow, slower,
    same labels; nvjpeg: plain JPEGs are decoded and resized on the replica's GPU, which moves pixels."""

    scaled_decoding: bool = False
    """Decode JPEGs at 1/2, 1/4 or 1/8 where that is still at least the size the model takes. Faster on images of twice
    that size and more; moves pixels."""

    resize: Resize = "pillow"
    """Who resizes on a CPU; torch takes a fraction of the time and is off by one grey level here and there."""

    def __post_init__(self) -> None:
        if self.decoder != "nvjpeg":
            return
        if self.scaled_decoding:
            raise UsageError("--scaled-decoding with --decoder nvjpeg: it doesn't scale. Leave one of them out.")
        if self.resize != "pillow":
            raise UsageError(f"--resize {self.resize} with --decoder nvjpeg: it resizes on the GPU. Leave one out.")

    @property
    def word(self) -> str:
        """What of this labels depend on, as a run's identity has it.

        Decoders that give Pillow's pixels are called pillow: runs that began with one are resumed with another.
        """
        words = ["nvjpeg" if self.decoder == "nvjpeg" else "pillow"]
        if self.scaled_decoding:
            words.append("scaled")
        if self.resize != "pillow":
            words.append(f"resized by {self.resize}")
        return ", ".join(words)

    def refuse_without_gpu(self, device: str) -> None:
        """Refuse a decoder that the replicas' device hasn't.

        Raises:
            UsageError: nvjpeg where replicas compute on CPUs.
        """
        if self.decoder == "nvjpeg" and device != "cuda":
            raise UsageError("--decoder nvjpeg: replicas compute on CPUs here. Leave it out, or run on GPUs.")
