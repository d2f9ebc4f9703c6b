"""A footer says what its file holds; whatever isn't a sound label file is told in one line."""

import contextlib
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.ledger.counts import ClassCount, Counts
from maskmill.pipeline.table.footer import Footer, FooterError, check_file
from maskmill.pipeline.table.rows import LabelRow, to_table
from maskmill.pipeline.table.schema import FOOTER_KEY, LABELS, SCHEMA_VERSION

FOOTER = Footer(
    fingerprint="0123",
    shard="s3://b/ä.tar",
    size=123,
    etag=None,
    counts=Counts(
        read=2,
        labeled=1,
        failed={"decode": 1},
        segments=3,
        classes=(ClassCount(vocab_id=4, segments=3, images=1),),
        unkeyed=1,
        truncated=True,
    ),
    versions={"torch": "2"},
    device="cpu",
    batch_size=8,
)
ROWS = [LabelRow(key="a", sample_index=0, segments=()), LabelRow(key="b", sample_index=1, error="decode: no")]


def parquet(table: pa.Table, metadata: dict[bytes, bytes] | None) -> bytes:
    file = io.BytesIO()
    with pq.ParquetWriter(file, table.schema) as writer:
        writer.write_table(table)
        if metadata is not None:
            writer.add_key_value_metadata(metadata)
    return file.getvalue()


SOUND = parquet(to_table(FOOTER.shard, ROWS), FOOTER.encode())


def changed(**fields: object) -> dict[bytes, bytes]:
    value = json.loads(FOOTER.encode()[FOOTER_KEY])
    return {FOOTER_KEY: json.dumps(value | fields).encode()}


def test_a_footer_comes_back_from_its_file(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(SOUND)
    assert check_file(path) == FOOTER
    with path.open("rb") as file:
        assert check_file(file) == FOOTER


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a whole Parquet file"),
        (b"PAR1", "not a whole Parquet file"),
        (b"\x00" * 100, "not a whole Parquet file"),
        (SOUND[:-1], "not a whole Parquet file"),
        (SOUND[: len(SOUND) // 2], "not a whole Parquet file"),
        (SOUND[len(SOUND) // 2 :], "not a whole Parquet file"),
        (parquet(pa.table({"a": [1]}), None), "not written by maskmill"),
        (parquet(to_table("s", ROWS), None), "not written by maskmill"),
        (parquet(to_table("s", ROWS[:1]), FOOTER.encode()), "1 rows, but its counts say 2"),
        (parquet(to_table("s", ROWS).drop_columns(["masks"]), FOOTER.encode()), "its columns"),
        (parquet(pa.table({"a": [1, 2]}), FOOTER.encode()), "its columns"),
        (
            parquet(to_table("s", ROWS), changed(schema_version=SCHEMA_VERSION + 1)),
            "schema version 3, this maskmill reads 1, 2",
        ),
        (parquet(to_table("s", ROWS), changed(schema_version=0)), "schema version 0"),
        (parquet(to_table("s", ROWS), changed(schema_version=True)), "schema version True"),
        (parquet(to_table("s", ROWS), changed(schema_version=[2])), "schema version"),
        # today's columns under an older version's name
        (parquet(to_table("s", ROWS), changed(schema_version=1)), "its columns"),
        (parquet(to_table("s", ROWS), changed(colour="red")), "can't be read"),
        (parquet(to_table("s", ROWS), changed(counts=None)), "can't be read"),
        (parquet(to_table("s", ROWS), changed(counts={"classes": [{}]})), "can't be read"),
        # a ledger that doesn't add up
        (
            parquet(to_table("s", ROWS), changed(counts={"read": 2, "labeled": 2, "failed": {"x": 1}, "classes": []})),
            "can't be read",
        ),
        (parquet(to_table("s", ROWS), {FOOTER_KEY: b"{"}), "can't be read"),
        (parquet(to_table("s", ROWS), {FOOTER_KEY: b"[]"}), "can't be read"),
        (parquet(to_table("s", ROWS), {FOOTER_KEY: b"7"}), "can't be read"),
        (parquet(to_table("s", ROWS), {FOOTER_KEY: b"[" * 100_000}), "can't be read"),
    ],
)
def test_a_file_that_is_no_sound_label_file_is_told_in_one_line(data, said):
    with pytest.raises(FooterError) as refused:
        check_file(io.BytesIO(data))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.integers(0, len(SOUND)), st.binary(max_size=3))
def test_a_damaged_file_is_sound_or_refused_and_nothing_else(place, junk):
    damaged = SOUND[:place] + junk + SOUND[place + len(junk) :]
    with contextlib.suppress(FooterError):
        check_file(io.BytesIO(damaged))


def test_types_count_as_part_of_the_schema():
    wide = to_table("s", ROWS).cast(LABELS.set(2, pa.field("sample_index", pa.int64(), nullable=False)))
    with pytest.raises(FooterError, match="its columns"):
        check_file(io.BytesIO(parquet(wide, FOOTER.encode())))


def test_the_footer_is_json_under_one_key():
    (key,) = FOOTER.encode()
    value = json.loads(FOOTER.encode()[key])
    assert key == b"maskmill"
    assert value["schema_version"] == SCHEMA_VERSION
    assert value["counts"]["failed"] == {"decode": 1}
