"""Made-up photos and shards of them: what decodes, resizes and compresses like photos. They show nothing."""

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from models.resize import Size

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
    file = io.BytesIO()
    Image.fromarray(photo(*size, seed)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def write_shard(path: Path, size: Size, samples: int) -> Path:
    """Write a shard of so many JPEGs of one height and width, each with a caption; `DISTINCT` of them differ."""
    pictures = [jpeg(size, seed) for seed in range(min(samples, DISTINCT))]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for index in range(samples):
            for extension, body in (("jpg", pictures[index % len(pictures)]), ("txt", b"made up for a bench")):
                header = tarfile.TarInfo(f"{index:09d}.{extension}")
                header.size = len(body)
                archive.addfile(header, io.BytesIO(body))
    return path
