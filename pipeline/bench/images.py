"""Made-up photos and shards of them: what decodes, resizes and compresses like photos. They show nothing."""

import io
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from maskmill.models.resize import Size

CELLS = ((3, 60.0), (9, 35.0), (31, 18.0), (127, 9.0))
"""Grids of random colour, coarse to fine, and their strength in grey levels: a spectrum that falls as photos' do."""

GRAIN = 4.0
"""Noise of single pixels, in grey levels."""

QUALITY = 90
"""Of the JPEGs, with colour at half resolution, as cameras and web sites write them: about 0.2 bytes a pixel."""

DISTINCT = 16
"""Different photos in a shard; the samples beyond repeat them."""


def photo(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """uint8 [height, width, 3]: clouds of colour at several scales, and grain. Equal arguments give equal photos."""
    rng = np.random.default_rng(seed)
    total = GRAIN * rng.standard_normal((3, height, width), np.float32)
    for cells, strength in CELLS:
        coarse = torch.from_numpy(rng.standard_normal((1, 3, cells, cells), np.float32))
        total += strength * torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0].numpy()
    levels: NDArray[np.uint8] = np.clip(total + 118.0, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))


def jpeg(size: Size, seed: int) -> bytes:
    """A made-up photo of this height and width as a JPEG."""
    return _encoded(Image.fromarray(photo(*size, seed)))


def write_shard(path: Path, size: Size, samples: int) -> Path:
    """Write a shard of so many JPEGs of one height and width, each with a caption; `DISTINCT` of them differ."""
    pictures = [jpeg(size, seed) for seed in range(min(samples, DISTINCT))]
    return _write(path, (pictures[index % len(pictures)] for index in range(samples)))


def write_mixed(path: Path, sizes: Sequence[Size], seed: int = 0) -> Path:
    """Write a shard of JPEGs of these heights and widths, in this order: parts of one photo, each with a caption."""
    whole = Image.fromarray(photo(max(height for height, _ in sizes), max(width for _, width in sizes), seed))
    return _write(path, (_encoded(whole.crop((0, 0, width, height))) for height, width in sizes))


def _encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _write(path: Path, pictures: Iterable[bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for index, picture in enumerate(pictures):
            for extension, body in (("jpg", picture), ("txt", b"made up for a bench")):
                header = tarfile.TarInfo(f"{index:09d}.{extension}")
                header.size = len(body)
                archive.addfile(header, io.BytesIO(body))
    return path
