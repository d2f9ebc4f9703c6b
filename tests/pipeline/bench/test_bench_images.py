"""Made-up photos: what decodes and compresses like photos, and shards of them."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from maskmill.pipeline.bench.images import DISTINCT, jpeg, photo, write_mixed, write_shard
from maskmill.pipeline.reading.images import decode_sample
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.open import open_shard
from maskmill.pipeline.shards.shard import describe


def test_a_photo_follows_from_its_size_and_seed() -> None:
    one = photo(40, 60, 3)
    assert one.shape == (40, 60, 3)
    assert one.flags.c_contiguous
    assert np.array_equal(one, photo(40, 60, 3))
    assert not np.array_equal(one, photo(40, 60, 4))


def test_a_jpeg_is_as_large_as_those_of_photos() -> None:
    data = jpeg((480, 640), 0)
    assert Image.open(io.BytesIO(data)).size == (640, 480)
    assert 0.1 < len(data) / (480 * 640) < 0.4


def test_a_shard_reads_as_any_other_and_repeats_its_photos(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", (32, 48), DISTINCT + 2)
    with open_shard(describe(str(path)), tmp_path, ReadLimits()) as opened:
        samples = list(opened.samples)
    assert [sample.index for sample in samples] == list(range(DISTINCT + 2))
    assert {sample.caption for sample in samples} == {"made up for a bench"}
    assert len({sample.image for sample in samples}) == DISTINCT
    assert decode_sample(samples[-1], ReadLimits()).size == (48, 32)
    with tarfile.open(path) as archive:
        assert len(archive.getnames()) == 2 * (DISTINCT + 2)


def test_a_mixed_shard_holds_the_sizes_asked_for_in_their_order(tmp_path: Path) -> None:
    sizes = [(40, 60), (60, 40), (17, 200)]
    path = write_mixed(tmp_path / "a.tar", sizes)
    with open_shard(describe(str(path)), tmp_path, ReadLimits()) as opened:
        images = [decode_sample(sample, ReadLimits()) for sample in opened.samples]
    assert [(image.height, image.width) for image in images] == sizes
