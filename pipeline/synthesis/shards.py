"""Writes procedural scenes as webdataset shards on a local disk. How a scene looks is decided in `scene`, not here."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary.scenes import BACKGROUNDS, COLOURS, SHAPES
from maskmill.pipeline.stores.leftovers import remove_leftovers
from maskmill.pipeline.stores.local_file import replacing, writing
from maskmill.pipeline.synthesis.scene import PAINT, Scene, scene

JPEG_QUALITY = 92
"""Of the images; colour is stored at full resolution, so that thin outlines keep their colour."""

KEY_DIGITS = 9
"""Digits of a key, which is the scene's index over all shards."""

BACKGROUND_PAINT = {
    "sand": (212, 186, 138),
    "grass": (86, 118, 52),
    "water": (60, 120, 132),
    "brick": (146, 86, 70),
    "wood": (140, 98, 60),
    "gravel": (130, 126, 120),
    "sky": (150, 192, 234),
    "snow": (230, 235, 242),
}
"""Background to the 8-bit RGB that stands for it in the palette of a class map."""

PALETTE = tuple(
    channel
    for colour in (*(PAINT[colour] for colour in COLOURS for _ in SHAPES), *(BACKGROUND_PAINT[b] for b in BACKGROUNDS))
    for channel in colour
)
"""Red, green, blue of each id of the vocabulary `scenes`: what viewers show for a class map."""


def synthesize(directory: str | Path, shards: int, samples: int, seed: int) -> list[Path]:
    """Write shards of scenes: `scenes-000000.tar`, `scenes-000001.tar`, ...

    Each sample is KEY.jpg (128x128), KEY.json (all that is true about the scene), KEY.seg.png (ids of the vocabulary
    `scenes`, 8-bit palette PNG) and KEY.txt (the caption); its key is its index over all shards. Equal arguments give
    files of equal bytes. A shard appears under its name when it is whole, in place of an older one of that name.

    Args:
        directory: local; made where it is missing.
        shards: how many, 1 or more.
        samples: scenes in each shard, 1 or more.
        seed: 0 or more; another seed gives other scenes.

    Returns:
        The shards' paths in order.

    Raises:
        UsageError: a number is out of range, or the directory is a URL or cannot be made.
        OutputError: the disk can't take a shard.
    """
    check_counts(shards, samples, seed)
    if re.match("[A-Za-z][A-Za-z0-9+.-]+:/", str(directory)):  # a URL, also as a path has it, with one slash
        raise UsageError(f"{directory}: expected a local directory. Synthesize to disk, then copy the shards there.")
    folder = Path(directory)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(str(folder))
    return [_shard(folder, number, samples, seed) for number in range(shards)]


def check_counts(shards: int, samples: int, seed: int) -> None:
    """Refuse numbers that `synthesize` would refuse; nothing is written.

    Raises:
        UsageError: one is out of range.
    """
    for option, value, least in (("--shards", shards, 1), ("--samples", samples, 1), ("--seed", seed, 0)):
        if value < least:
            raise UsageError(
                f"{option} {value}: expected a whole number of {least} or more. Leave it out for the default."
            )
    if shards * samples > 10**KEY_DIGITS:
        raise UsageError(
            f"--shards {shards} x --samples {samples}: more scenes than keys of {KEY_DIGITS} digits. Ask for fewer."
        )


def _shard(folder: Path, number: int, samples: int, seed: int) -> Path:
    path = folder / f"scenes-{number:06d}.tar"
    with replacing(path) as waiting, waiting.open("wb") as file:
        for index in range(number * samples, (number + 1) * samples):
            for member, body in _members(scene(seed, index), seed, index):
                _add(file, f"{index:0{KEY_DIGITS}d}.{member}", body)
        file.write(bytes(2 * tarfile.BLOCKSIZE))
    return path


def _members(drawn: Scene, seed: int, index: int) -> Iterator[tuple[str, bytes]]:
    """Extension and bytes of each member of a sample, in the order of a sorted listing."""
    jpeg, png = io.BytesIO(), io.BytesIO()
    Image.fromarray(drawn.image).save(jpeg, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    yield "jpg", jpeg.getvalue()

    shown = np.bincount(drawn.class_map.ravel(), minlength=256)
    facts = {
        "caption": drawn.caption,
        "seed": seed,
        "index": index,
        "background": drawn.background,
        "objects": [
            {
                "name": thing.name,
                "vocab_id": thing.vocab_id,
                "centre": [round(place, 3) for place in thing.centre],
                "radius": round(thing.radius, 3),
                "tilt": round(thing.tilt, 4),
                "pixels": int(shown[thing.vocab_id]),
            }
            for thing in drawn.things
        ],
    }
    yield "json", json.dumps(facts).encode()

    class_map = Image.fromarray(drawn.class_map)
    class_map.putpalette(PALETTE)
    class_map.save(png, "PNG")
    yield "seg.png", png.getvalue()

    yield "txt", drawn.caption.encode()


def _add(file: IO[bytes], name: str, body: bytes) -> None:
    """Append one member: no owner, no time of day, so that equal bodies make equal archives."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = len(body), 0o644
    file.write(header.tobuf(tarfile.USTAR_FORMAT))
    file.write(body)
    file.write(bytes(-len(body) % tarfile.BLOCKSIZE))
