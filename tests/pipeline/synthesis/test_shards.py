import hashlib
import io
import json
import tarfile

import numpy as np
import pytest
import webdataset
from PIL import Image

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary.scenes import names
from maskmill.pipeline.synthesis.scene import scene
from maskmill.pipeline.synthesis.shards import PALETTE, synthesize
from tests.killed import killed_as_it_wrote


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return synthesize(tmp_path_factory.mktemp("scenes"), 3, 5, 11)


def test_equal_arguments_write_equal_bytes(shards, tmp_path):
    again = synthesize(str(tmp_path / "made" / "here"), 3, 5, 11)
    assert [path.name for path in again] == ["scenes-000000.tar", "scenes-000001.tar", "scenes-000002.tar"]
    digests = [[hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] for paths in (shards, again)]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 3
    assert synthesize(tmp_path, 1, 5, 12)[0].read_bytes() != shards[0].read_bytes()


def test_webdataset_reads_whole_samples_with_unique_keys(shards):
    samples = [s for path in shards for s in webdataset.WebDataset(str(path), shardshuffle=False)]
    assert [s["__key__"] for s in samples] == [f"{index:09d}" for index in range(15)]
    for index, sample in enumerate(samples):
        drawn = scene(11, index)
        assert {"jpg", "txt", "json", "seg.png"} <= set(sample)
        assert sample["txt"].decode() == drawn.caption
        class_map = Image.open(io.BytesIO(sample["seg.png"]))
        assert class_map.mode == "P"
        assert np.array_equal(np.asarray(class_map), drawn.class_map)
        image = Image.open(io.BytesIO(sample["jpg"]))
        assert (image.format, image.size, image.mode) == ("JPEG", (128, 128), "RGB")
        assert np.abs(np.asarray(image).astype(int) - drawn.image).mean() < 5
        facts = json.loads(sample["json"])
        assert facts["caption"] == drawn.caption
        assert (facts["seed"], facts["index"], facts["background"]) == (11, index, drawn.background)
        for thing in facts["objects"]:
            assert names()[thing["vocab_id"]] == thing["name"]
            assert thing["pixels"] == (drawn.class_map == thing["vocab_id"]).sum()


def test_archives_are_plain_and_end_as_tar_ends(shards):
    with tarfile.open(shards[0]) as archive:
        members = archive.getmembers()
    assert len(members) == 5 * 4
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    assert shards[0].read_bytes().endswith(bytes(1024))
    assert shards[0].stat().st_size % 512 == 0


def test_the_palette_has_a_colour_for_each_name():
    assert len(PALETTE) == 3 * len(names())


def test_nothing_but_shards_is_left_behind(shards):
    assert sorted(path.name for path in shards[0].parent.iterdir()) == [path.name for path in shards]


def test_what_a_killed_call_left_is_removed(tmp_path):
    killed_as_it_wrote(tmp_path / "scenes-000000.tar")
    shards = synthesize(tmp_path, 1, 1, 0)
    assert list(tmp_path.iterdir()) == shards


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, 5, 0), "--shards 0"),
        ((1, 0, 0), "--samples 0"),
        ((1, 1, -1), "--seed -1"),
        ((10**5, 10**5, 0), "--samples"),
    ],
)
def test_numbers_out_of_range_are_wrong_usage(tmp_path, arguments, said):
    with pytest.raises(UsageError, match=said):
        synthesize(tmp_path, *arguments)


def test_a_directory_that_cannot_be_is_wrong_usage(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="directory"):
        synthesize(tmp_path / "file" / "below", 1, 1, 0)
    with pytest.raises(UsageError, match="local directory"):
        synthesize("s3://bucket/scenes", 1, 1, 0)
