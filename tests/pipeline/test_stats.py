"""The page of numbers: right, made without reading a mask, and bounded."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from maskmill.jobs.stats import stats as command
from maskmill.models.errors import UsageError
from maskmill.pipeline.compaction.compaction import compact
from maskmill.pipeline.output import Output
from maskmill.pipeline.stats import lines, stats, to_json
from tests.table_scale import make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three label files of 500 samples each. Tests only read it."""
    folder = tmp_path_factory.mktemp("made") / "out"
    make(folder, 3, 1500, masks=5)
    return folder


def test_numbers_are_those_of_the_rows(made):
    rows = [row for path in (made / "labels").iterdir() for row in pq.ParquetFile(path).read().to_pylist()]
    segments = [segment for row in rows for segment in row["segments"] or ()]
    found = to_json(stats(Output.of(str(made))))
    labeled = [row for row in rows if row["status"] == "ok"]
    assert found["samples"]["read"] == len(rows) == 1500
    assert found["samples"]["labeled"] == len(labeled)
    assert found["segments"] == len(segments)
    lengths = Counter(str(len(row["segments"])) for row in labeled)
    assert {entry["segments"]: entry["images"] for entry in found["segments_an_image"]} == lengths
    bins = Counter(min(int(segment["score"] * 20), 19) for segment in segments)
    assert [entry["segments"] for entry in found["scores"]] == [bins[n] for n in range(20)]
    counts = Counter(segment["vocab_id"] for segment in segments)
    images = Counter(n for row in labeled for n in {segment["vocab_id"] for segment in row["segments"]})
    pixels = sum(row["mask_width"] * row["mask_height"] for row in labeled)
    for entry in found["classes"]:
        mine = [segment for segment in segments if segment["vocab_id"] == entry["vocab_id"]]
        assert (entry["segments"], entry["images"]) == (counts[entry["vocab_id"]], images[entry["vocab_id"]])
        assert entry["share"] == pytest.approx(sum(segment["area"] for segment in mine) / pixels)
        if mine:
            assert entry["mean_score"] == pytest.approx(sum(segment["score"] for segment in mine) / len(mine))
    sizes = sum(path.stat().st_size for path in (made / "labels").iterdir())
    assert found["bytes"]["label_files"] == sum(found["bytes"]["by_column"].values()) == sizes


def test_masks_are_never_read(tmp_path):
    out = tmp_path / "out"
    make(out, 2, 400, masks=5)
    before = to_json(stats(Output.of(str(out))))
    for path in (out / "labels").iterdir():
        data = bytearray(path.read_bytes())
        metadata = pq.ParquetFile(path).metadata
        for group in range(metadata.num_row_groups):
            for column in map(metadata.row_group(group).column, range(metadata.num_columns)):
                if column.path_in_schema.startswith("masks"):
                    start = column.data_page_offset
                    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
        path.write_bytes(data)
        with pytest.raises(OSError, match=r".+"):
            pq.ParquetFile(path).read(columns=["masks"])
    assert to_json(stats(Output.of(str(out)))) == before


def test_the_page_names_the_most_and_the_least_frequent(made, capsys):
    assert command(str(made)) == 0
    page = capsys.readouterr().out
    found = to_json(stats(Output.of(str(made))))
    ranked = sorted((entry for entry in found["classes"] if entry["segments"]), key=lambda entry: -entry["images"])
    assert page.index("most found") < page.index(ranked[0]["name"]) < page.index("least found")
    assert f"{ranked[-1]['images']}" in page[page.index("least found") :]
    assert f"{len(ranked)} found" in page
    assert max(map(len, page.splitlines())) < 120


def test_json_is_json_with_every_class(made, capsys):
    assert command(str(made), json=True) == 0
    assert len(json.loads(capsys.readouterr().out)["classes"]) == 171


def test_a_sealed_table_has_the_same_numbers(made, tmp_path):
    compact(Output.of(str(made)), Output.of(str(tmp_path / "sealed")), scratch=tmp_path, file_bytes=1 << 30)
    sealed, run = (to_json(stats(Output.of(str(url)))) for url in (tmp_path / "sealed", made))
    for name in ("samples", "segments", "classes", "scores", "segments_an_image"):
        assert sealed[name] == run[name]


def test_failed_shards_are_counted_by_reason(tmp_path):
    from maskmill.pipeline.ledger import ledger
    from maskmill.pipeline.ledger.ledger import LedgerRow

    out = Output.of(str(tmp_path / "out"))
    make(Path(out.url), 3, 60, masks=2)
    lost = ledger.read(out.ledger)[1]
    Path(out.labels, str(lost.label_file)).unlink()
    failed = LedgerRow(url=lost.url, state="failed", error="crashed: the worker died", attempts=2)
    out.write_json(out.failed(str(lost.label_file).removesuffix(".parquet")), failed.to_json())
    found = stats(out)
    assert to_json(found)["failed_shards_by_reason"] == {"crashed": 1}
    assert "failed    crashed 1 (shards)" in list(lines(found))


def test_without_labels_or_with_damaged_ones_it_is_wrong_usage(made, tmp_path):
    with pytest.raises(UsageError, match="no label files"):
        stats(Output.of(str(tmp_path / "nothing")))
    out = tmp_path / "out"
    make(out, 2, 40, masks=2)
    path = sorted((out / "labels").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match=f"{path.name}: damaged.*maskmill verify"):
        stats(Output.of(str(out)))
