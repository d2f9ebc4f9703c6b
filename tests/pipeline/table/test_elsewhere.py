"""The label table as others read it: pyarrow, pycocotools, duckdb, polars and datasets, none of our own code."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from maskmill.pipeline.output import Output
from tests.hostile import early_end, encode
from tests.plain_run import PLAIN, label, write_tar

SEGMENT = pa.struct(
    {
        "query": pa.int16(),
        "vocab_id": pa.int32(),
        "score": pa.float32(),
        "margin": pa.float32(),
        "top_ids": pa.list_(pa.int32()),
        "top_logits": pa.list_(pa.float32()),
        "background_logit": pa.float32(),
        "mask_score": pa.float32(),
        "stability": pa.float32(),
        "kept": pa.float32(),
        "area": pa.int32(),
        "bbox": pa.list_(pa.int32()),
        "agreement": pa.float32(),
    }
)
COLUMNS = {
    "key": pa.string(),
    "shard": pa.string(),
    "sample_index": pa.int32(),
    "status": pa.string(),
    "error": pa.string(),
    "warnings": pa.list_(pa.string()),
    "sha256": pa.binary(),
    "width": pa.int32(),
    "height": pa.int32(),
    "mask_width": pa.int32(),
    "mask_height": pa.int32(),
    "caption": pa.string(),
    "candidates": pa.list_(pa.int32()),
    "segments": pa.list_(SEGMENT),
    "masks": pa.list_(pa.binary()),
    "logit_width": pa.int16(),
    "logit_height": pa.int16(),
    "mask_logits": pa.list_(pa.binary()),
}
"""The contract's table, written out."""


@pytest.fixture(scope="module")
def out(tiny, scenes, tmp_path_factory) -> Path:
    """A run over two shards of scenes and one with failed samples."""
    folder = tmp_path_factory.mktemp("elsewhere")
    good = encode()
    bodies = {"a.jpg": good, "b.jpg": early_end(good), "c.txt": b"no image", "d.png": encode("PNG"), "e.jpg": good}
    label(tiny, [*scenes, write_tar(folder / "some.tar", bodies)], Output.of(str(folder / "out")), PLAIN)
    return folder / "out"


@pytest.fixture(scope="module")
def files(out) -> list[Path]:
    return sorted((out / "labels").glob("*.parquet"))


def test_every_file_has_the_contracts_columns(files):
    assert len(files) == 3
    for path in files:
        schema = pq.read_schema(path)
        assert schema.names == list(COLUMNS)
        for name, kind in COLUMNS.items():
            assert schema.field(name).type.equals(kind), name


def test_every_mask_decodes_to_its_area_and_box(files):
    segments = rows = 0
    for path in files:
        for row in pq.read_table(path).to_pylist():
            if row["status"] != "ok":
                continue
            rows += 1
            size = [row["mask_height"], row["mask_width"]]
            for segment, counts in zip(row["segments"], row["masks"], strict=True):
                encoded = {"size": size, "counts": counts}
                mask = coco.decode(encoded)
                assert mask.shape == tuple(size)
                assert segment["area"] == mask.sum() == coco.area(encoded) > 0
                assert segment["bbox"] == coco.toBbox(encoded).astype(int).tolist()
                segments += 1
    assert segments >= 3 * rows > 0


def test_every_sample_is_a_row_in_order(files):
    for path in files:
        indices = pq.read_table(path)["sample_index"].to_pylist()
        assert indices == list(range(len(indices)))


def test_numbers_of_a_segment_agree_with_one_another(files):
    for path in files:
        for segments in pq.read_table(path)["segments"].to_pylist():
            for segment in segments or ():
                assert segment["top_ids"][0] == segment["vocab_id"]
                assert len(segment["top_ids"]) == len(segment["top_logits"]) == 5
                assert segment["top_logits"] == sorted(segment["top_logits"], reverse=True)
                assert 0 <= segment["margin"] <= segment["score"] <= 1
                assert 0 <= segment["mask_score"] <= 1
                assert 0 <= segment["stability"] <= 1
                assert 0 < segment["kept"] <= 1
                # Of a softmax with background, two classes' logits give the ratio of their probabilities.
                second = segment["score"] - segment["margin"]
                ratio = np.exp(np.float64(segment["top_logits"][1]) - segment["top_logits"][0])
                assert second == pytest.approx(segment["score"] * ratio, abs=1e-4)


def test_counts_of_rows_footers_and_ledger_are_equal(out, files):
    ledger = {
        url: rest
        for url, *rest in duckdb.sql(
            f"select url, read, labeled, failed, segments, len(class_counts), bytes from '{out}/ledger.parquet'"
        ).fetchall()
    }
    assert len(ledger) == len(files)
    for path in files:
        footer = json.loads(pq.read_metadata(path).metadata[b"maskmill"])
        counts = footer["counts"]
        rows = duckdb.sql(
            f"""select count(*), count(*) filter (status = 'ok'), count(*) filter (status = 'failed'),
                sum(coalesce(len(segments), 0)) from '{path}'"""
        ).fetchall()[0]
        classes = duckdb.sql(
            f"select count(distinct s.vocab_id) from (select unnest(segments) s from '{path}')"
        ).fetchall()[0]
        failed = sum(counts["failed"].values())
        assert (counts["read"], counts["labeled"], failed, counts["segments"]) == rows
        assert ledger[footer["shard"]] == [*rows, *classes, path.stat().st_size]
        assert len(counts["classes"]) == classes[0]
        assert footer["fingerprint"] == json.loads((out / "run.json").read_text())["fingerprint"]
    reasons = duckdb.sql(
        f"select split_part(error, ':', 1), count(*) from '{out}/labels/*.parquet' where error is not null group by 1"
    ).fetchall()
    assert dict(reasons) == {"truncated": 1, "missing_image": 1}


def test_class_names_join_by_id(out):
    names = duckdb.sql(
        f"""select v.name from (select unnest(segments, recursive := true) from '{out}/labels/*.parquet')
            join '{out}/vocabulary.parquet' v using (vocab_id)"""
    ).fetchall()
    segments = duckdb.sql(f"select sum(len(segments)) from '{out}/labels/*.parquet'").fetchall()[0][0]
    assert len(names) == segments
    assert all(name for (name,) in names)


def test_pages_are_indexed_and_only_repeating_columns_have_dictionaries(files):
    for path in files:
        group = pq.read_metadata(path).row_group(0)
        for column in map(group.column, range(group.num_columns)):
            assert column.compression == "ZSTD"
            assert column.has_offset_index
            assert column.has_dictionary_page == (column.path_in_schema in ("shard", "status"))


def test_polars_reads_the_table(files):
    import polars

    frame = polars.read_parquet(files)
    assert frame.height == 25
    assert frame.schema["sha256"] == polars.Binary
    assert frame.explode("segments").unnest("segments")["area"].drop_nulls().min() > 0


def test_datasets_reads_the_table(files, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    loaded = datasets.Dataset.from_parquet([str(path) for path in files], cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == 25
    mine = pq.read_table(files[0]).to_pylist()[0]
    theirs = loaded[0]
    assert theirs["masks"] == mine["masks"]
    assert theirs["segments"][0]["vocab_id"] == mine["segments"][0]["vocab_id"]
