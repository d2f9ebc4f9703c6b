"""A label table of a shard whose members lie apart, as the first version left it, read beside its shard today.

tests/data/apart_v1 holds the shard (a directory, a .DS_Store, two images and a hard link, their captions, their ground
truth) and what that version made of it, open and sealed; no later code can write it anew. Of its seven rows two are
labeled, without their captions.
"""

import shutil
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.dataset import LabeledImages
from maskmill.pipeline.export.destination import Destination
from maskmill.pipeline.export.export import Export, export
from maskmill.pipeline.ledger.status import settle, status
from maskmill.pipeline.ledger.summary import lines
from maskmill.pipeline.output import Output
from maskmill.pipeline.query import ask
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.report.config import ReportConfig
from maskmill.pipeline.report.report import report
from maskmill.pipeline.shards.shard import describe
from maskmill.pipeline.showing.lookup import find
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run
from maskmill.pipeline.truth.labels import open_labels
from maskmill.pipeline.verify import verify
from tests.plain_run import label_one

DATA = Path(__file__).parents[2] / "data" / "apart_v1"

SHARD = "memory://schema-v2/apart.tar"
"""Canonical URL of the labeled shard."""

KEYS = ["photos/000000000", "photos/000000001"]


@pytest.fixture(params=["open", "sealed"])
def output(request, tmp_path) -> Output:
    fsspec.filesystem("memory").pipe("/schema-v2/apart.tar", (DATA / "apart.tar").read_bytes())
    return Output.of(str(shutil.copytree(DATA / request.param, tmp_path / request.param)))


def test_it_is_read_beside_its_shard_for_training(output, tmp_path):
    images = list(LabeledImages(output.url, scratch=tmp_path))
    assert [(image.key, image.caption) for image in images] == [(key, None) for key in KEYS]
    keep = SegmentFilter().bound(vocabulary_of_run(output), "general")
    with open_labels(describe(SHARD), LabelTable(output), keep, tmp_path, ReadLimits()) as pairs:
        assert [(pair.key, pair.index) for pair in pairs] == list(zip(KEYS, (1, 2), strict=True))


def test_it_is_shown_and_reported_and_exported_with_its_images(output, tmp_path):
    found = find(output, KEYS[1], sample_index=2)
    assert (found.image is not None, found.notes) == (True, ())
    assert report(output.url, SegmentFilter(), ReportConfig(images=4)).notes == ()
    made = export(
        Export(
            output=output,
            destination=Destination.of(str(tmp_path / "coco")),
            format="coco",
            keep=SegmentFilter(),
            images=True,
            skip_empty=False,
        ),
        scratch=tmp_path,
        workers=1,
    )
    assert made.images == 2


def test_its_ledger_has_no_later_column_and_is_read_verified_asked_and_written_anew(output, tmp_path):
    assert "directories" not in pq.read_schema(output.ledger).names
    assert [row.counts.directories for row in status(output).rows()] == [None]
    assert lines(status(output))[:2] == [
        "shards    1 done, 0 failed, 0 missing, of 1 asked for",
        "samples   7 read = 2 labeled + 5 failed (missing_image 5)",
    ]
    assert verify(output, deep=True).problems == ()
    with ask(output.url, "SELECT read, directories, warned FROM ledger") as answer:
        assert list(answer.rows) == [(7, None, None)]
    if not LabelTable(output).sealed:
        settle(output)
        assert "directories" in pq.read_schema(output.ledger).names
        assert LabelTable(output).of_first_version(SHARD)
        assert verify(output).problems == ()


def test_labeled_today_the_shard_has_its_captions_and_its_link(tiny, tmp_path):
    fsspec.filesystem("memory").pipe("/schema-v2/apart.tar", (DATA / "apart.tar").read_bytes())
    row, table = label_one(tiny, SHARD, tmp_path / "out")
    assert table["key"].to_pylist() == [KEYS[0], "photos/linked", KEYS[1]]
    assert [caption is not None for caption in table["caption"].to_pylist()] == [True, False, True]
    assert row.counts.warned == {"split_sample": 2}
    assert (row.counts.labeled, row.counts.unkeyed, row.counts.directories) == (3, 1, 1)
