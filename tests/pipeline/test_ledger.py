"""Rows of the ledger survive Parquet, and the last word on a shard is the right one."""

from datetime import UTC, datetime

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import ledger
from pipeline.counts import ClassCount, Counts
from pipeline.ledger import PHASES, LedgerRow

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
    ),
    bytes=4567,
    seconds=dict.fromkeys(PHASES, 0.25),
    replica="host:1",
    attempts=2,
    started=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
)
FAILED = LedgerRow(url="s3://bucket/b.tar", state="failed", error="not_tar: the bytes are no archive", attempts=1)


def test_rows_come_back_from_parquet(tmp_path):
    url = str(tmp_path / "ledger.parquet")
    rows = [FULL, FAILED, ledger.missing("s3://bucket/c.tar", None, None)]
    ledger.write(rows, url)
    assert ledger.read(url) == rows


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


def test_part_names_sort_as_they_were_written():
    moments = [datetime(2026, 1, 1, 0, 0, 0, n, tzinfo=UTC) for n in (0, 1, 999_999)]
    moments += [datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)]
    names = [ledger.part_name(moment) for moment in moments]
    assert names == sorted(names)
    assert len(set(names)) == len(names)


def row(state: str, attempts: int) -> LedgerRow:
    return LedgerRow(url="a", state=state, attempts=attempts)


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [("failed", "failed", 2), ("failed", "done", 2), ("done", "done", 2), ("done", "failed", 1), ("done", "missing", 1),
     ("missing", "failed", 2)],
)  # fmt: skip
def test_later_rows_win_but_no_failure_takes_back_a_done_shard(before, after, kept):
    assert ledger.merge([row(before, 1), row(after, 2)])["a"].attempts == kept


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["done", "failed", "missing"])), max_size=20))
def test_a_shard_that_was_ever_done_is_done(events):
    merged = ledger.merge(LedgerRow(url=url, state=state) for url, state in events)
    assert merged.keys() == {url for url, _ in events}
    for url, kept in merged.items():
        states = [state for other, state in events if other == url]
        assert kept.state == ("done" if "done" in states else states[-1])
