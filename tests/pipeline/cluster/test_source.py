import numpy as np
import pytest

from maskmill.pipeline.dataset import LabeledImages
from maskmill.pipeline.output import Output
from maskmill.pipeline.table.filters import SegmentFilter
from tests.plain_run import label


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
