from dataclasses import replace

import numpy as np
import pytest
import torch

from maskmill.pipeline.dataset import LabeledImage, LabeledImages
from maskmill.pipeline.output import Output
from maskmill.pipeline.table.filters import SegmentFilter
from tests.plain_run import label


def test_every_block_has_the_same_columns_whether_or_not_its_images_have_segments():
    from maskmill.pipeline.cluster.source import _columns

    some = LabeledImage(
        image=torch.zeros(3, 8, 8, dtype=torch.uint8), masks=torch.ones(1, 8, 8, dtype=torch.bool),
        class_ids=torch.zeros(1, dtype=torch.int64), scores=torch.ones(1), soft_masks=torch.ones(1, 2, 2),
        ignore=torch.zeros(8, 8, dtype=torch.bool), key="a", shard="s.tar", sample_index=0, caption=None,
    )  # fmt: skip
    none = replace(some, masks=some.masks[:0], class_ids=some.class_ids[:0], scores=some.scores[:0], soft_masks=None)
    blocks = [_columns(block, soft=True) for block in ([some], [none], [some, none])]
    assert len({tuple(block) for block in blocks}) == 1
    assert [len(masks) for masks in blocks[2]["soft_masks"]] == [1, 0]
    assert "soft_masks" not in _columns([none], soft=False)


@pytest.mark.slow
def test_ray_data_gives_what_the_reader_gives(tiny, scenes, tmp_path):
    output = Output.of(str(tmp_path / "out"))
    label(tiny, scenes, output)
    from maskmill.pipeline.cluster import session
    from maskmill.pipeline.cluster.source import labeled_images

    keep = SegmentFilter(min_score=0.2)
    with session.session():
        found = {(row["shard"], row["sample_index"]): row for row in labeled_images(output.url, keep=keep).take_all()}
    expected = list(LabeledImages(output.url, keep=keep))
    assert len(found) == len(expected) == 20
    for sample in expected:
        row = found[sample.shard, sample.sample_index]
        for name in ("image", "masks", "class_ids", "scores", "ignore"):
            assert np.array_equal(row[name], getattr(sample, name).numpy()), name
        assert (row["key"], row["caption"]) == (sample.key, sample.caption)
