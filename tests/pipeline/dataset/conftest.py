"""A small run that tests of the training reader share; they read it only."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from maskmill.pipeline.output import Output
from maskmill.pipeline.synthesis.shards import synthesize
from tests.plain_run import PLAIN, label, write_tar

SOFT = replace(PLAIN, inference=replace(PLAIN.inference, soft_masks=True))


def picture(size=(60, 40)) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 40).convert("RGB").save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def run_of(tiny, tmp_path_factory):
    """Shards of 7, 1 and 5 scenes, and one with failed samples between sound ones; the output that labels them."""
    folder = tmp_path_factory.mktemp("run")
    shards = [synthesize(folder / f"s{count}", 1, count, count)[0] for count in (7, 1, 5)]
    members = {"a.png": picture(), "b.txt": b"no image", "c.png": b"broken", "d.png": picture((40, 60)), "e.txt": b"-"}
    shards.append(write_tar(folder / "mixed.tar", members))
    output = Output.of(str(folder / "out"))
    label(tiny, shards, output, replace(SOFT, job=replace(SOFT.job, max_failed_samples=0.9)))
    return shards, output
