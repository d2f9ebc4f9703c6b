"""A label file is in shard order whatever the order of its making, in row groups of bounded size."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskmill.models.segment import Segment
from maskmill.pipeline.ledger.counts import Counts
from maskmill.pipeline.table.footer import Footer, check_file
from maskmill.pipeline.table.rows import LabelRow
from maskmill.pipeline.table.schema import LABELS, ROW_GROUP_BYTES
from maskmill.pipeline.table.writer import LabelWriter

SEGMENT = Segment(
    query=0, vocab_id=1, score=0.5, margin=0.5, top_ids=(1,), top_logits=(1.0,), background_logit=0.0, mask_score=0.5,
    stability=1.0, kept=1.0, area=1, bbox=(0, 0, 1, 1), rle=b"01", mask_size=(1, 1),
)  # fmt: skip


def row(index: int, segments: tuple[Segment, ...] = (SEGMENT,)) -> LabelRow:
    return LabelRow(key=f"k{index}", sample_index=index, size=(1, 1), mask_size=(1, 1), segments=segments)


def footer(rows: int) -> Footer:
    return Footer(
        fingerprint="f", shard="s", size=1, etag="e", counts=Counts(read=rows, labeled=rows, segments=rows),
        versions={}, device="cpu", batch_size=1,
    )  # fmt: skip


def write(path: Path, rows: list[LabelRow]) -> pq.ParquetFile:
    with LabelWriter(path, "s") as writer:
        for one in rows:
            writer.add(one)
        writer.finish(footer(len(rows)))
    return pq.ParquetFile(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.permutations(range(7)))
def test_rows_come_out_in_shard_order_whatever_the_order_they_came_in(tmp_path, order):
    file = write(tmp_path / "a.parquet", [row(index) for index in order])
    assert file.read()["sample_index"].to_pylist() == list(range(7))
    assert file.read()["key"].to_pylist() == [f"k{index}" for index in range(7)]


def test_a_shard_without_samples_is_a_file_without_rows(tmp_path):
    file = write(tmp_path / "a.parquet", [])
    assert file.metadata.num_rows == 0
    assert file.schema_arrow.equals(LABELS)
    assert check_file(tmp_path / "a.parquet") == footer(0)


def test_row_groups_are_cut_by_bytes_and_not_by_rows(tmp_path):
    large = replace(SEGMENT, rle=bytes(ROW_GROUP_BYTES // 4))
    file = write(tmp_path / "a.parquet", [row(index, (large,)) for index in range(9)])
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)]
    assert sizes == [4, 4, 1]
    many = write(tmp_path / "b.parquet", [row(index) for index in range(5_000)])
    assert many.metadata.num_row_groups == 1


def most_arrow_memory(path: Path, rows: int) -> int:
    """Arrow's memory at its peak while so many rows of 8 KiB are written, in a process that did nothing before."""
    masks = np.random.default_rng(0).integers(0, 256, (8, 1 << 13), np.uint8)
    write(path, [row(index, (replace(SEGMENT, rle=masks[index % 8].tobytes()),)) for index in range(rows)])
    return pa.default_memory_pool().max_memory()


@pytest.mark.slow
def test_one_row_group_is_held_and_no_second_copy_of_it_however_long_the_shard_is(tmp_path):
    each = ROW_GROUP_BYTES >> 13
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        most = process.submit(most_arrow_memory, tmp_path / "a.parquet", 2 * each + 5).result()
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 3
    assert ROW_GROUP_BYTES // 2 < most < 1.25 * ROW_GROUP_BYTES


def test_columns_are_compressed_indexed_and_typed_as_the_contract_says(tmp_path):
    metadata = write(tmp_path / "a.parquet", [row(index) for index in range(50)]).metadata
    group = metadata.row_group(0)
    columns = {group.column(n).path_in_schema: group.column(n) for n in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert all(column.has_offset_index and column.has_column_index for column in columns.values())
    dictionaries = {name for name, column in columns.items() if column.has_dictionary_page}
    assert dictionaries == {"shard", "status"}


def test_a_row_that_comes_twice_is_a_mistake(tmp_path):
    with LabelWriter(tmp_path / "a.parquet", "s") as writer:
        writer.add(row(0))
        writer.add(row(2))
        for index in (0, 2):
            with pytest.raises(AssertionError, match="twice"):
                writer.add(row(index))


def test_a_file_with_a_row_missing_is_never_finished(tmp_path):
    path = tmp_path / "a.parquet"
    with LabelWriter(path, "s") as writer:
        writer.add(row(1))
        with pytest.raises(AssertionError, match="wait for row 0"):
            writer.finish(footer(1))
        writer.add(row(0))
        with pytest.raises(AssertionError, match="2 rows, but the counts say 3"):
            writer.finish(footer(3))
