"""Rows of the ledger survive Parquet, and the last word on a shard is the right one."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import pyarrow.parquet as pq
import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.counts import ClassCount, Counts
from maskmill.pipeline.ledger.failed_sample import FailedSample
from maskmill.pipeline.ledger.ledger import PHASES, LedgerRow

FULL = LedgerRow(
    url="s3://bucket/a.tar",
    size=123,
    etag="abc",
    state="done",
    counts=Counts(
        read=5,
        labeled=2,
        failed={"decode": 1, "too_large": 2},
        segments=9,
        classes=(ClassCount(vocab_id=3, segments=8, images=2), ClassCount(vocab_id=40, segments=1, images=1)),
        unkeyed=1,
        truncated=True,
        directories=2,
        warned={"caption_text": 1, "split_sample": 4},
    ),
    bytes=4567,
    seconds=dict.fromkeys(PHASES, 0.25),
    replica="host:1",
    attempts=2,
    started=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    ended=datetime(2026, 1, 2, 3, 5, tzinfo=UTC),
    label_file="a-0123456789abcdef.parquet",
    first_row=77,
)
FAILED = LedgerRow(url="s3://bucket/b.tar", state="failed", error="not_tar: the bytes are no archive", attempts=1)
TOO_MANY = replace(
    FAILED,
    error="too_many_failed: 1 of 1 samples",
    failed_samples=(FailedSample.of("k", 0, ["txt"], "missing_image: no jpg"),),
)


def test_rows_come_back_from_parquet(tmp_path):
    url = str(tmp_path / "ledger.parquet")
    rows = [FULL, FAILED, ledger.missing("s3://bucket/c.tar", None, None)]
    ledger.write(rows, url)
    assert ledger.read(url) == rows


def test_a_ledger_that_an_earlier_version_wrote_has_no_later_columns(tmp_path):
    path = tmp_path / "ledger.parquet"
    earlier = ledger.to_table([FULL, FAILED]).drop_columns(["directories", "warned"])
    pq.write_table(earlier, path)
    first = replace(FULL, counts=replace(FULL.counts, directories=None, warned={}))
    assert ledger.read(str(path)) == [first, FAILED]
    pq.write_table(earlier.drop_columns("first_row"), path)
    with pytest.raises(UsageError, match="its columns"):
        ledger.read(str(path))


@pytest.mark.parametrize("row", [FULL, FAILED, TOO_MANY])
def test_a_row_comes_back_from_json(row):
    assert LedgerRow.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_a_ledger_that_is_not_there_has_no_rows(tmp_path):
    assert ledger.read(str(tmp_path / "ledger.parquet")) == []


def test_the_columns_can_be_counted_in_sql(tmp_path):
    ledger.write([FULL, FAILED], str(tmp_path / "ledger.parquet"))
    read, labeled, failed = duckdb.sql(
        f"select sum(read), sum(labeled), sum(failed) from '{tmp_path}/ledger.parquet'"
    ).fetchall()[0]
    assert read == labeled + failed == 5
    reasons = duckdb.sql(
        f"select unnest(failed_by_reason, recursive := true) from '{tmp_path}/ledger.parquet' order by 1"
    ).fetchall()
    assert reasons == [("decode", 1), ("too_large", 2)]


def test_the_reason_is_the_word_before_the_colon():
    assert FAILED.reason == "not_tar"
    assert FULL.reason is None


def test_a_parts_name_tells_when_it_was_written_and_others_tell_nothing():
    moment = datetime(2026, 3, 1, 12, 30, 1, 234567, tzinfo=UTC)
    assert ledger.part_time(f"s3://b/out/ledger-parts/{ledger.part_name(moment)}.parquet") == moment
    assert [ledger.part_time(name) for name in ("notes.parquet", "20260301T123001234567Z.json", "")] == [None] * 3


def test_a_job_is_heard_of_soon_and_leaves_few_parts_in_a_day():
    waits = [ledger.part_seconds(written) for written in range(1000)]
    assert waits[0] <= 15
    assert waits == sorted(waits)
    assert sum(waits) > 24 * 3600


def test_part_names_sort_as_they_were_written():
    moments = [datetime(2026, 1, 1, 0, 0, 0, n, tzinfo=UTC) for n in (0, 1, 999_999)]
    moments += [datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)]
    names = [ledger.part_name(moment) for moment in moments]
    assert names == sorted(names)
    assert len(set(names)) == len(names)
