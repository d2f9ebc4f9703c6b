"""Scenes larger than `synthesize` makes them: squares of scenes side by side, with their class maps. A plain module."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from maskmill.pipeline.synthesis.scene import scene
from maskmill.pipeline.synthesis.shards import JPEG_QUALITY
from tests.plain_run import write_tar


def mosaic(seed: int, index: int, side: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """`side` x `side` scenes as one: RGB [H, W, 3] and class ids [H, W]."""
    drawn = [scene(seed, index * side**2 + part) for part in range(side**2)]
    rows = [drawn[row * side : (row + 1) * side] for row in range(side)]
    image = np.vstack([np.hstack([one.image for one in row]) for row in rows])
    return image, np.vstack([np.hstack([one.class_map for one in row]) for row in rows])


def write_mosaics(path: Path, count: int, *, seed: int = 0, side: int = 2) -> Path:
    """A shard of so many, with the ground truth."""
    members: dict[str, bytes] = {}
    for index in range(count):
        image, truth = mosaic(seed, index, side)
        files = io.BytesIO(), io.BytesIO()
        Image.fromarray(image).save(files[0], "JPEG", quality=JPEG_QUALITY, subsampling=0)
        Image.fromarray(truth).save(files[1], "PNG")
        members |= {f"{index:04d}.jpg": files[0].getvalue(), f"{index:04d}.seg.png": files[1].getvalue()}
    return write_tar(path, members)
