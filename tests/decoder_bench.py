"""Decoders of JPEGs beside Pillow, in one run: `python -m tests.decoder_bench`. It asserts nothing.

One thread each, on made-up photos: images/s and the largest difference from Pillow's pixels, whole and at half size.
What isn't installed is passed over with a line. PyTurboJPEG needs a libturbojpeg of the system's.
"""

import io
import warnings
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from maskmill.models.resampling import resized
from maskmill.models.resize import ResizeRule
from maskmill.pipeline.bench.images import jpeg
from maskmill.pipeline.reading.decoding import DecodingConfig
from maskmill.pipeline.reading.images import decode_as
from maskmill.pipeline.reading.limits import ReadLimits

SIZES = ((960, 1280), (2400, 3200))
"""Height, width of the photos."""

PHOTOS, ROUNDS = 4, 7

Pixels = NDArray[np.uint8]
Decoder = Callable[[bytes, int], Pixels | Image.Image | None]
"""A file's pixels, each side divided by a number, as it comes by them; None where it can't divide."""


def pillow(data: bytes, parts: int) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    if parts > 1:
        image.draft(None, (image.width // parts, image.height // parts))
    image.load()
    return image


def torchvision() -> Decoder:
    from torchvision.io import ImageReadMode, decode_jpeg

    warnings.simplefilter("ignore")

    def decode(data: bytes, parts: int) -> Pixels | None:
        if parts > 1:
            return None
        file = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return decode_jpeg(file, ImageReadMode.RGB).permute(1, 2, 0).numpy()

    return decode


def simplejpeg() -> Decoder:
    import simplejpeg

    def decode(data: bytes, parts: int) -> Pixels:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        return simplejpeg.decode_jpeg(data, "RGB", min_height=-(-height // parts), min_width=-(-width // parts))

    return decode


def pyturbojpeg() -> Decoder:
    from turbojpeg import TJPF_RGB, TurboJPEG

    turbo = TurboJPEG()
    return lambda data, parts: turbo.decode(data, pixel_format=TJPF_RGB, scaling_factor=(1, parts))


def ours(decoding: DecodingConfig) -> Decoder:
    """The whole of `label`'s decoding, with its checks."""

    def decode(data: bytes, parts: int) -> Image.Image:
        found = decode_as(data, ReadLimits(), decoding, lambda size: (-(-size[0] // parts), -(-size[1] // parts)))
        return found.image

    return decode


def seconds(work: Callable[[], object]) -> float:
    """Median of several rounds after a first one."""
    work()
    taken = []
    for _ in range(ROUNDS):
        started = perf_counter()
        work()
        taken.append(perf_counter() - started)
    return median(taken)


def decoders() -> dict[str, Decoder]:
    found: dict[str, Decoder] = {"Pillow": pillow}
    for name, load in (("torchvision", torchvision), ("simplejpeg", simplejpeg), ("PyTurboJPEG", pyturbojpeg)):
        try:
            found[name] = load()
        except (ImportError, RuntimeError, OSError) as error:
            print(f"{name}: passed over, {str(error).splitlines()[0]}")
    for word in ("pillow", "simplejpeg"):
        found[f"label, {word}"] = ours(DecodingConfig(decoder=word, scaled_decoding=True))
    return found


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    candidates = decoders()
    print(f"{'':20}{'size':>12}{'side':>6}{'images/s':>10}{'difference':>12}")
    for size in SIZES:
        files = [jpeg(size, seed) for seed in range(PHOTOS)]
        for parts in (1, 2):
            expected = [np.asarray(pillow(data, parts)).astype(int) for data in files]
            for name, decode in candidates.items():
                found = [decode(data, parts) for data in files]
                if any(one is None for one in found):
                    continue
                apart = max(
                    int(np.abs(np.asarray(one) - other).max()) for one, other in zip(found, expected, strict=True)
                )
                rate = PHOTOS / seconds(lambda: [decode(data, parts) for data in files])  # noqa: B023 (called at once)
                print(f"{name:20}{size[1]:>7} x{size[0]:5}{f'1/{parts}':>5}{rate:>10.1f}{apart:>12}")
    print()
    print(f"{'resize':20}{'from':>12}{'images/s':>10}{'difference':>12}{'share':>10}")
    rule = ResizeRule()
    for size in SIZES:
        image = decode_as(jpeg(size, 0), ReadLimits(), DecodingConfig()).image
        by = {name: resized(image, rule.size(size), name) for name in ("pillow", "torch")}
        for name, pixels in by.items():
            rate = 1 / seconds(lambda: resized(image, rule.size(size), name))  # noqa: B023 (called at once)
            apart = np.abs(pixels.astype(int) - by["pillow"])
            print(f"{name:20}{size[1]:>7} x{size[0]:5}{rate:>10.1f}{apart.max():>12}{(apart > 0).mean():>10.3%}")


if __name__ == "__main__":
    main()
