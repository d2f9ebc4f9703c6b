import numpy as np
import pyarrow.parquet as pq
import pytest

from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.output import Output
from maskmill.pipeline.report.sample import Span, draw, read
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.table.label_table import LabelTable
from tests.pipeline.report.conftest import label_file

EVERYTHING = SegmentFilter().bound(Vocabulary.load("scenes"), "general")


def drawn(sizes, seed=0, **bounds):
    urls = [f"/{number}.tar" for number in range(len(sizes))]
    return draw(urls, np.array(sizes, np.int64), np.random.default_rng(seed), **bounds)


def test_a_small_table_is_drawn_whole():
    spans = drawn([5, 0, 7, 1])
    assert sorted((span.shard, span.first, span.count) for span in spans) == [
        ("/0.tar", 0, 5), ("/2.tar", 0, 7), ("/3.tar", 0, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("sizes", [[10_000] * 10_000, [1] * 50_000 + [10_000_000], [100_000_000], [3, 500, 40_000]])
def test_a_large_table_costs_no_more_than_its_bounds(sizes):
    spans = drawn(sizes, rows=2_000, shards=16)
    assert len(spans) <= 16
    assert sum(span.count for span in spans) <= 2_000 + 16
    assert len({span.shard for span in spans}) == len(spans)
    for span in spans:
        assert 0 <= span.first <= span.first + span.count <= sizes[int(span.shard[1:-4])]


def test_a_table_with_enough_rows_fills_the_sample():
    assert sum(span.count for span in drawn([3, 500, 40_000], rows=2_000, shards=16)) == 2_000


def test_the_seed_decides_what_is_drawn():
    sizes = [1000] * 200
    assert drawn(sizes, 1) == drawn(sizes, 1)
    assert drawn(sizes, 1) != drawn(sizes, 2)


def test_nothing_is_drawn_of_nothing():
    assert drawn([]) == drawn([0, 0]) == []
    nothing = read(LabelTable(Output.of("/nowhere")), [], EVERYTHING)
    assert (len(nothing.ok), len(nothing.image), len(nothing.confidence)) == (0, 0, 0)


def test_scalars_are_those_of_the_rows(strangers, scenes):
    rows = pq.read_table(label_file(strangers, scenes[0])).to_pylist()
    span = Span(shard=str(scenes[0]), first=3, count=4)
    sampled = read(LabelTable(Output.of(str(strangers))), [span], EVERYTHING)
    assert sampled.row.tolist() == [3, 4, 5, 6]
    assert sampled.ok.all()
    segments = [(place, segment) for place, row in enumerate(rows[3:7]) for segment in row["segments"]]
    assert sampled.image.tolist() == [place for place, _ in segments]
    assert sampled.segments["vocab_id"].tolist() == [segment["vocab_id"] for _, segment in segments]
    assert sampled.share.tolist() == pytest.approx([segment["area"] / (128 * 128) for _, segment in segments])
    first = rows[3]["segments"]
    weighted = sum(s["area"] * s["score"] * s["stability"] for s in first) / sum(s["area"] for s in first)
    assert sampled.confidence[0] == pytest.approx(weighted)


def test_no_mask_is_read(strangers, scenes, tmp_path):
    source = label_file(strangers, scenes[0])
    metadata = pq.ParquetFile(source).metadata
    (column,) = [
        metadata.row_group(0).column(number)
        for number in range(metadata.num_columns)
        if metadata.row_group(0).column(number).path_in_schema.startswith("masks.")
    ]
    start = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
    data = bytearray(source.read_bytes())
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    copy = label_file(tmp_path, scenes[0])
    copy.parent.mkdir(parents=True)
    copy.write_bytes(bytes(data))
    sampled = read(LabelTable(Output.of(str(tmp_path))), [Span(shard=str(scenes[0]), first=0, count=10)], EVERYTHING)
    assert sampled.unread == ()
    assert sampled.found.sum() > 10


def test_a_damaged_label_file_is_left_out_and_named(strangers, scenes, tmp_path):
    for number, shard in enumerate(scenes):
        copy = label_file(tmp_path, shard)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(label_file(strangers, shard).read_bytes()[: None if number else 100])
    spans = [Span(shard=str(shard), first=0, count=10) for shard in scenes]
    sampled = read(LabelTable(Output.of(str(tmp_path))), spans, EVERYTHING)
    assert sampled.unread == (str(scenes[0]),)
    assert set(sampled.span.tolist()) == {1}


def test_segments_are_looked_at_up_to_a_bound(strangers, scenes):
    spans = [Span(shard=str(shard), first=0, count=10) for shard in scenes]
    table = LabelTable(Output.of(str(strangers)))
    assert not read(table, spans, EVERYTHING).cut
    assert len(read(table, spans, EVERYTHING, segments=2).ok) <= 20
