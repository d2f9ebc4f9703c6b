"""A run as the last maskmill of schema version 1 left it, stored byte for byte; a plain module, tests import it.

tests/data/schema_v1 holds a shard of four synthesized scenes, san-tiny's labels of it (`open`), and those compacted
(`sealed`). No later code can write these files anew. All of it lies in fsspec's memory file system, whose URLs are the
same on every machine.
"""

import shutil
from pathlib import Path

import fsspec

DATA = Path(__file__).parent / "data" / "schema_v1"

SHARD = "memory://schema-v1/scenes.tar"
"""Canonical URL of the labeled shard; `put_shard` makes it be there."""

LABEL_FILE = "scenes-76e41b8d996fa6b4.parquet"
"""Name of its label file in the open run."""


def put_shard() -> None:
    """Put the shard where its URL says."""
    fsspec.filesystem("memory").pipe("/schema-v1/scenes.tar", (DATA / "scenes.tar").read_bytes())


def put_run(kind: str, folder: Path) -> Path:
    """A copy of a run that tests may change: `open` or `sealed`."""
    put_shard()
    return Path(shutil.copytree(DATA / kind, folder / kind))
