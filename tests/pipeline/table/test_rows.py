"""Rows become Arrow columns of exactly the label schema, whatever they hold."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from maskmill.models.segment import Segment
from maskmill.pipeline.table.rows import LabelRow, to_table
from maskmill.pipeline.table.schema import LABELS

SEGMENT = Segment(
    query=7, vocab_id=45, score=0.75, margin=0.5, top_ids=(45, 3), top_logits=(9.5, -1.25), background_logit=-3.5,
    mask_score=0.875, stability=0.5, kept=1.0, area=6, bbox=(1, 2, 3, 2), rle=b"\x30\x31", mask_size=(4, 5),
)  # fmt: skip
LABELED = LabelRow(
    key="a/b", sample_index=0, warnings=("duplicate_key", "caption_text"), sha256=b"\x00" * 32, size=(40, 50),
    mask_size=(4, 5), caption="ein Bär 🐻", segments=(SEGMENT, replace(SEGMENT, query=8, rle=b"1")),
)  # fmt: skip
EMPTY = LabelRow(key="c", sample_index=1, sha256=b"\x01" * 32, size=(4, 5), mask_size=(4, 5), segments=())
FAILED = LabelRow(key="", sample_index=2, error="decode: corrupt", sha256=b"\x02" * 32)


def test_a_table_has_the_label_schema_and_one_row_a_sample():
    table = to_table("s3://b/a.tar", [LABELED, EMPTY, FAILED])
    assert table.schema.equals(LABELS)
    table.validate(full=True)
    first, second, third = table.to_pylist()
    assert first["segments"][0] == {
        "query": 7, "vocab_id": 45, "score": 0.75, "margin": 0.5, "top_ids": [45, 3], "top_logits": [9.5, -1.25],
        "background_logit": -3.5, "mask_score": 0.875, "stability": 0.5, "kept": 1.0, "area": 6, "bbox": [1, 2, 3, 2],
        "agreement": None,
    }  # fmt: skip
    assert first["masks"] == [b"\x30\x31", b"1"]
    assert (first["height"], first["width"], first["mask_height"], first["mask_width"]) == (40, 50, 4, 5)
    assert first["warnings"] == ["duplicate_key", "caption_text"]
    assert first["caption"] == "ein Bär 🐻"
    assert (first["status"], first["error"], first["candidates"]) == ("ok", None, None)
    assert (second["status"], second["segments"], second["masks"], second["warnings"]) == ("ok", [], [], [])
    assert (third["status"], third["error"]) == ("failed", "decode: corrupt")
    assert third["segments"] is third["masks"] is third["width"] is third["mask_height"] is None
    assert {row["shard"] for row in (first, second, third)} == {"s3://b/a.tar"}


def test_no_type_depends_on_the_data():
    for rows in ([], [FAILED], [EMPTY], [EMPTY, FAILED]):
        table = to_table("x", rows)
        assert table.schema.equals(LABELS)
        assert table.num_rows == len(rows)
        table.validate(full=True)


def test_the_semantic_forms_missing_numbers_are_null():
    semantic = replace(SEGMENT, query=-1, mask_score=None, stability=None, kept=None)
    found = to_table("x", [replace(LABELED, segments=(semantic,))]).to_pylist()[0]["segments"][0]
    assert found["query"] == -1
    assert found["mask_score"] is found["stability"] is found["kept"] is None


def test_agreement_is_null_unless_there_is_one():
    agreeing = replace(SEGMENT, agreement=0.625)
    found = to_table("x", [replace(LABELED, segments=(agreeing, SEGMENT))]).to_pylist()[0]["segments"]
    assert [segment["agreement"] for segment in found] == [0.625, None]


def test_mask_logits_are_stored_row_major_with_their_size():
    logits = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    # Not contiguous in memory, as a crop of a padded grid is.
    cropped = np.zeros((8, 9), np.int8)
    cropped[:3, :4] = logits
    soft = replace(SEGMENT, mask_logits=cropped[:3, :4])
    row = to_table("x", [replace(LABELED, segments=(soft, soft)), EMPTY, FAILED]).to_pylist()
    assert (row[0]["logit_height"], row[0]["logit_width"]) == (3, 4)
    assert [np.frombuffer(one, np.int8).reshape(3, 4).tolist() for one in row[0]["mask_logits"]] == [
        logits.tolist()
    ] * 2
    assert row[1]["mask_logits"] is row[2]["mask_logits"] is row[1]["logit_width"] is None


def test_without_soft_masks_their_columns_are_null():
    row = to_table("x", [LABELED]).to_pylist()[0]
    assert row["mask_logits"] is row["logit_width"] is row["logit_height"] is None


def test_a_rows_size_follows_what_it_holds():
    large = replace(SEGMENT, rle=bytes(100_000))
    assert LABELED.bytes < 2_000
    assert 100_000 < replace(LABELED, segments=(large,)).bytes < 102_000
    soft = replace(SEGMENT, mask_logits=np.zeros((100, 100), np.int8))
    assert replace(LABELED, segments=(soft,)).bytes > 10_000
    assert replace(FAILED, caption="x" * 5_000).bytes > 5_000


def test_integers_fit_their_columns():
    wide = replace(SEGMENT, query=32_767, vocab_id=2**31 - 1, area=2**31 - 1)
    found = to_table("x", [replace(LABELED, segments=(wide,))])
    assert found["segments"].to_pylist()[0][0]["vocab_id"] == 2**31 - 1
    assert isinstance(found, pa.Table)
