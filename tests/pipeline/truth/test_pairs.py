"""Images with ground truth are found in shards and folders, at the positions that `label` counts."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from maskmill.models.errors import UsageError
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.truth.pairs import open_pairs, sources_of
from tests.plain_run import write_tar


def test_a_shards_pairs_have_the_bytes_and_positions_of_its_samples(tmp_path):
    members = {"a.txt": b"no image", "b.jpg": b"image b", "b.seg.png": b"truth b", "c.png": b"no truth"}
    members |= {"d.json": b"{}", "d.PNG": b"image d", "d.seg.png": b"truth d"}
    shard = write_tar(tmp_path / "x.tar", members)
    (source,) = sources_of([str(shard)])
    with open_pairs(source, tmp_path, ReadLimits()) as opened:
        assert [(pair.index, pair.key) for pair in opened.pairs] == [(1, "b"), (3, "d")]
        assert [(pair.image.read(), pair.truth.read()) for pair in opened.pairs] == [
            (b"image b", b"truth b"),
            (b"image d", b"truth d"),
        ]
    assert opened.bare == 2


def test_a_truth_that_is_a_link_to_nothing_is_refused_and_not_left_out(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
        link = tarfile.TarInfo("a.seg.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/data/truth/a.png"
        archive.addfile(link)
    (source,) = sources_of([str(tmp_path / "x.tar")])
    with pytest.raises(UsageError, match=r"x\.tar: 'a\.seg\.png': .*link"), open_pairs(source, tmp_path, ReadLimits()):
        pass


def test_a_folders_pairs_are_images_with_an_annotation_of_the_same_name(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(file, "PNG")
    for name in ("images/val/b.jpg", "images/val/a.jpg", "images/c.jpg", "annotations/val/a.png", "annotations/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(file.getvalue())
    (source,) = sources_of([str(tmp_path)])
    with open_pairs(source, tmp_path, ReadLimits()) as opened:
        assert [pair.key for pair in opened.pairs] == ["c", "val/a"]
        assert opened.bare == 1


def test_what_a_mac_leaves_in_a_folder_is_no_image(tmp_path):
    for name in ("images/a.jpg", "images/._a.jpg", "images/__MACOSX/a.jpg", "annotations/a.png", "annotations/._a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (source,) = sources_of([str(tmp_path)])
    with open_pairs(source, tmp_path, ReadLimits()) as opened:
        assert [pair.key for pair in opened.pairs] == ["a"]
        assert opened.bare == 0


def test_nothing_given_and_shards_that_are_not_there_are_told(tmp_path):
    with pytest.raises(UsageError, match="none given"):
        sources_of([])
    with pytest.raises(UsageError, match="no such shard"):
        sources_of([str(tmp_path / "never.tar")])
