"""Parquet's metadata is compared with the rows: of single flipped bits each is seen or changes no answer."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.ledger.counts import Counts
from maskmill.pipeline.table.footer import Footer
from maskmill.pipeline.table.parquet_check import check_parquet
from maskmill.pipeline.table.schema import LABELS
from maskmill.pipeline.table.thrift import I16, I32, I64, decode_struct
from maskmill.pipeline.table.writer import LabelFileWriter
from tests.flipped_bits import SOURCE, Subject, answers, flip, footer_bits, outcome
from tests.version_1 import DATA

EVERY = 521
"""Bits of the footer from one that is flipped to the next; a prime, so that all eight bits of bytes have their turn.
`python -m tests.flipped_bits` flips each."""


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject.of(SOURCE, tmp_path, checksum=False)


def test_a_flipped_bit_of_the_footer_is_seen_or_changes_no_answer(subject: Subject) -> None:
    found = [outcome(subject, bit) for bit in footer_bits(subject.path.read_bytes())[::EVERY]]
    assert found.count("seen") > 100
    assert "MISSED" not in found


@pytest.mark.slow
def test_a_flipped_bit_anywhere_is_seen_or_changes_no_answer(subject: Subject) -> None:
    data = subject.path.read_bytes()
    assert "MISSED" not in [outcome(subject, bit) for bit in range(0, 8 * len(data), 97)]


def test_every_flipped_bit_is_seen_where_the_ledger_has_the_checksum(tmp_path: Path) -> None:
    subject = Subject.of(SOURCE, tmp_path, checksum=True)
    data = subject.path.read_bytes()
    damaged = tmp_path / "damaged.parquet"
    for bit in range(0, 8 * len(data), 997):
        damaged.write_bytes(flip(data, bit))
        assert subject.is_seen(damaged), bit


# Bytes of the stored file that each hold what the name says.
FLIPS = {
    b"000000003": "the greatest key, in statistics and page index",
    b"sample_index": "a column's name, in the schema, in its chunk and in Arrow's schema",
    b"element": "the name of a list's elements",
    b"ARROW:schema": "the name of Arrow's schema",
}


@pytest.mark.parametrize("text", FLIPS, ids=FLIPS.values())
def test_a_flip_of_each_place_where_a_text_stands_in_the_footer_is_seen(subject: Subject, text: bytes) -> None:
    data = subject.path.read_bytes()
    damaged = subject.path.with_name("damaged.parquet")
    at = data.find(text, footer_bits(data).start // 8)
    assert at > 0
    while at > 0:
        damaged.write_bytes(flip(data, 8 * (at + len(text) - 1)))
        assert subject.is_seen(damaged)
        assert damaged.read_bytes() != data
        at = data.find(text, at + 1)


def test_every_flipped_bit_of_a_page_header_is_seen_or_changes_no_answer(subject: Subject) -> None:
    _, end = decode_struct(subject.path.read_bytes(), 4)
    assert "MISSED" not in [outcome(subject, bit) for bit in range(8 * 4, 8 * end)]


def test_a_flipped_bit_of_the_orders_of_columns_is_seen_or_changes_no_answer(subject: Subject) -> None:
    """Three bytes a column, the last of the footer; Polars opens no file that has another order."""
    data = subject.path.read_bytes()
    end = len(data) - 8
    assert data[end - 4 : end] == b"\x1c\x00\x00\x00"
    assert "MISSED" not in [outcome(subject, bit) for bit in range(8 * (end - 24), 8 * end)]


def test_a_wrong_statistic_that_changes_an_answer_is_seen(subject: Subject) -> None:
    """The fault that was reported: DuckDB believes the footer's greatest key, and finds no row beyond it."""
    data = subject.path.read_bytes()
    at = data.index(b"000000003", footer_bits(data).start // 8)
    damaged = subject.path.with_name("damaged.parquet")
    damaged.write_bytes(data[:at] + b"000000001" + data[at + 9 :])
    assert answers(damaged) != answers(subject.path)
    assert subject.is_seen(damaged)


def _segment(number: int) -> dict[str, object]:
    return {
        "query": number % 100, "vocab_id": number, "score": number / 7, "margin": None if number % 2 else -0.0,
        "top_ids": list(range(number % 6)), "top_logits": [], "background_logit": float("nan"), "mask_score": None,
        "stability": None, "kept": None, "area": number, "bbox": [0, 0, 1, number], "agreement": None,
    }  # fmt: skip


def _written(path: Path, groups: list[int]) -> Path:
    """A label file of these row groups, with many pages, nulls and large values in them."""
    rows = [
        {
            "key": f"{number * 7919 % 1000:06d}", "shard": "s", "sample_index": number, "status": "ok", "error": None,
            "warnings": None if number % 3 else ["x"] * (number % 4), "sha256": bytes([number % 256]) * 32,
            "width": number % 50, "height": None, "mask_width": 1, "mask_height": 1,
            "caption": None if number < 500 else "c" * number * 9, "candidates": None,
            "segments": None if number % 5 == 0 else [_segment(number + n) for n in range(number % 4)],
            "masks": None if number % 5 == 0 else [bytes([n]) * 3000 for n in range(number % 4)],
            "logit_width": None, "logit_height": None, "mask_logits": [bytes([n]) * 5000 for n in range(number % 2)],
        }
        for number in range(sum(groups))
    ]  # fmt: skip
    counts = Counts(read=len(rows), labeled=len(rows))
    footer = Footer(
        fingerprint="f", shard="s", size=1, etag="e", counts=counts, versions={}, device="cpu", batch_size=1
    )
    with LabelFileWriter(path) as writer:
        start = 0
        for size in groups:
            # In blocks, as the writer of shards hands them over: pages end where blocks do.
            pieces = [
                pa.Table.from_pylist(rows[at : min(at + 100, start + size)], schema=LABELS)
                for at in range(start, start + size, 100)
            ]
            writer.write_table(pa.concat_tables(pieces), row_group_size=size)
            start += size
        writer.add_key_value_metadata(footer.encode())
    return path


@pytest.mark.parametrize("groups", [[], [1], [7, 900], [256, 256, 3]])
def test_sound_files_of_many_pages_and_row_groups_are_as_their_rows(tmp_path: Path, groups: list[int]) -> None:
    with _written(tmp_path / "a.parquet", groups).open("rb") as file:
        assert check_parquet(file) is None


@pytest.mark.parametrize("kind", ["open", "sealed"])
def test_sound_files_of_an_earlier_version_are_as_their_rows(kind: str) -> None:
    for path in (DATA / kind / "labels").glob("*.parquet"):
        with path.open("rb") as file:
            assert check_parquet(file) is None


def test_a_file_without_page_index_or_with_older_statistics_is_no_damage(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.parquet", [50])
    table, metadata = pq.read_table(path), pq.read_metadata(path).metadata
    with pq.ParquetWriter(
        path, LABELS, compression="zstd", use_dictionary=False, write_statistics=False, write_page_checksum=True
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({b"maskmill": metadata[b"maskmill"]})
    with path.open("rb") as file:
        assert check_parquet(file) is None


def test_a_flipped_bit_of_an_index_of_many_pages_is_seen(tmp_path: Path) -> None:
    """Such as the order that its bounds are said to have, by which some readers search them."""
    data = _written(tmp_path / "a.parquet", [900]).read_bytes()
    footer, _ = decode_struct(data[-8 - int.from_bytes(data[-8:-4], "little") : -8])
    group: Any = footer[4]
    chunk = next(one for one in group[0][1] if 6 in one and len(_index(data, one)[1]) > 1)
    for bit in range(8 * chunk[6], 8 * (chunk[6] + chunk[7]), max(1, 8 * chunk[7] // 24) | 1):
        damaged = flip(data, bit)
        # False has two spellings.
        assert check_parquet(BytesIO(damaged)) is not None or _index(damaged, chunk) == _index(data, chunk), bit


def _index(data: bytes, chunk: Any) -> Any:
    return decode_struct(data, chunk[6])[0]


def test_integers_of_other_types_are_other_values() -> None:
    assert I32(5) == 5
    assert I32(5) == I32(5)
    assert I32(5) != I64(5)
    assert I16(5) != I32(6)
    assert {I32(5)} == {5}


@pytest.mark.parametrize("data", [b"", b"\x15", b"\x19\xff\xff\xff\xff\x0f", b"\x1c" * 99, b"\x18\x05ab", b"\x1b\x00"])
def test_bytes_that_are_no_struct_are_refused_without_taking_memory(data: bytes) -> None:
    with pytest.raises(ValueError, match="Thrift"):
        decode_struct(data)
