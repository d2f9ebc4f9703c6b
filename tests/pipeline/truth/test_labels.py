"""Labels as ground truth: the pixels that a training is taught are those of the table's masks."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.models.errors import UsageError
from maskmill.models.training.augmentation import UNKNOWN, UNLABELED
from maskmill.pipeline import run
from maskmill.pipeline.dataset import LabeledImages, semantic_map
from maskmill.pipeline.dataset.reader import done_shards
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.images import decode
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run
from maskmill.pipeline.truth.labels import open_labels
from tests.plain_run import label

LIMITS = ReadLimits()


@pytest.fixture(scope="module")
def labeled(tiny, scenes, tmp_path_factory):
    output = Output.of(str(tmp_path_factory.mktemp("labels") / "out"))
    label(tiny, scenes, output)
    return output


def bound(output, keep):
    return keep.bound(vocabulary_of_run(output), run.require(output)["identity"]["inference"])


def taught(output, keep, scratch):
    shards, _ = done_shards(output, None)
    for shard in shards:
        with open_labels(shard, LabelTable(output), bound(output, keep), scratch, LIMITS) as pairs:
            for pair in pairs:
                yield pair, *pair.taught(decode(pair.image.read(), LIMITS))


def test_what_is_taught_is_what_the_reader_gives(labeled, tmp_path):
    keep = SegmentFilter(min_score=0.8, min_area=5)
    expected = {(sample.shard, sample.sample_index): sample for sample in LabeledImages(labeled.url, keep=keep)}
    seen = dropped = 0
    for pair, image, classes in taught(labeled, keep, tmp_path):
        sample = expected[pair.source, pair.index]
        assert pair.key == sample.key
        assert np.array_equal(np.asarray(image), sample.image.permute(1, 2, 0).numpy())
        wanted = semantic_map(sample, unlabeled=UNLABELED).masked_fill(sample.ignore, UNKNOWN)
        assert torch.equal(torch.from_numpy(classes).long(), wanted)
        seen, dropped = seen + 1, dropped + bool(sample.ignore.any())
    assert seen == len(expected) == 20
    assert dropped > 0


def test_an_image_of_another_size_is_refused(labeled, tmp_path):
    pair = next(taught(labeled, SegmentFilter(), tmp_path))[0]
    with pytest.raises(UsageError, match=r"128x128 was labeled, the image is 64x64"):
        pair.taught(Image.new("RGB", (64, 64)))


def test_another_shard_under_the_name_of_a_labeled_one_is_refused(tiny, scenes, tmp_path):
    shard = shutil.copy(scenes[0], tmp_path / "a.tar")
    output = Output.of(str(tmp_path / "out"))
    label(tiny, [shard], output)
    shutil.copy(scenes[1], shard)
    with pytest.raises(UsageError, match=r"changed.*label it again") as caught:
        list(taught(output, SegmentFilter(), tmp_path))
    assert "\n" not in str(caught.value)


def test_a_shard_whose_keys_are_not_the_tables_is_refused(labeled, scenes, tmp_path):
    """The same file, taken for the other shard of the run."""
    (first, second), _ = done_shards(labeled, None)
    with (
        pytest.raises(UsageError, match="the shard has sample 0"),
        open_labels(
            type(first)(url=second.url, source=first.source, size=first.size, etag=first.etag),
            LabelTable(labeled),
            bound(labeled, SegmentFilter()),
            tmp_path,
            LIMITS,
        ),
    ):
        pass
