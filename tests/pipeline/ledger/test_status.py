"""Every shard asked for is done, failed or missing, whatever is left of the ledger that says so."""

import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.models.errors import UsageError
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.counts import Counts
from maskmill.pipeline.ledger.ledger import BRIEF, LedgerRow
from maskmill.pipeline.ledger.merging import _last
from maskmill.pipeline.ledger.status import Status, settle, status
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.shards.shard import Shard, describe_many
from maskmill.pipeline.stores.publish import publish_bytes
from tests.plain_run import label, write_tar


@pytest.fixture(scope="module")
def finished(tiny, scenes, tmp_path_factory) -> Output:
    """A run of four shards: two done, one failed, one that never existed. Tests copy it."""
    folder = tmp_path_factory.mktemp("finished")
    bad = folder / "bad.tar"
    bad.write_bytes(b"no archive" * 100)
    output = Output.of(str(folder / "out"))
    label(tiny, [*scenes, bad, folder / "never.tar"], output)
    return output


@pytest.fixture
def output(finished, tmp_path) -> Output:
    shutil.copytree(finished.url, tmp_path / "out")
    return Output.of(str(tmp_path / "out"))


def states(now: Status) -> list[str]:
    return [row.state for row in now.rows()]


def rows(now: Status) -> list[LedgerRow]:
    return list(now.rows())


def label_name(output: Output, shard: int) -> str:
    """Of the shard's label file, by its place in the order of asking."""
    return manifest.read(output)["label_file"][shard].as_py().removesuffix(".parquet")


def test_a_finished_run_accounts_for_every_shard_and_sample(output):
    now = status(output)
    assert states(now) == ["done", "done", "failed", "failed"]
    assert [row.reason for row in now.rows()] == [None, None, "not_tar", "missing"]
    assert (now.read, now.labeled, now.failed_by_reason) == (20, 20, {})
    assert now.segments >= 60
    assert now.bytes == sum(path.stat().st_size for path in Path(output.labels).iterdir())
    assert now.stale == ()


def test_settling_merges_the_parts_and_removes_them(output):
    assert output.ledger_parts() == []
    before = ledger.read(output.ledger)
    ledger.write([replace(before[0], attempts=7)], output.ledger_part(ledger.part_name()))
    ledger.write([replace(before[0], attempts=8)], output.ledger_part(ledger.part_name()))
    now = settle(output)
    assert rows(now)[0].attempts == 8
    assert output.ledger_parts() == []
    assert ledger.read(output.ledger) == [replace(before[0], attempts=8), *before[1:]]
    assert settle(output) == now


def test_settling_removes_what_the_killed_left_long_ago(output):
    left = Path(output.labels) / f".{'0' * 32}.tmp"
    left.write_bytes(b"half a label file")
    status(output)
    assert left.exists()
    os.utime(left, (0, 0))
    settle(output)
    assert not left.exists()


def test_the_ledgers_sums_in_sql_are_the_statuss(output):
    now = status(output)
    found = duckdb.sql(
        f"select count(*), sum(read), sum(labeled), sum(segments) from '{output.ledger}' where state = 'done'"
    ).fetchall()
    assert found == [(2, now.read, now.labeled, now.segments)]


def test_a_ledger_that_is_lost_is_rebuilt_from_footers_and_failures(output):
    before = ledger.read(output.ledger)
    Path(output.ledger).unlink()
    now = settle(output)
    after = ledger.read(output.ledger)
    kept = ("url", "state", "error", "counts", "bytes", "etag", "label_file")
    assert [[getattr(row, name) for name in kept] for row in after] == [
        [getattr(row, name) for name in kept] for row in before
    ]
    assert now == status(output)


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"x" * 1000])
@pytest.mark.parametrize("place", ["ledger", "part"])
def test_a_damaged_ledger_is_wrong_usage_that_says_what_to_do(output, place, damage):
    url = output.ledger if place == "ledger" else output.ledger_part(ledger.part_name())
    publish_bytes(damage, url)
    with pytest.raises(UsageError, match="Remove it") as refused:
        status(output)
    assert url in str(refused.value)
    assert "\n" not in str(refused.value)
    Path(url).unlink()
    assert states(status(output)) == ["done", "done", "failed", "failed"]


def test_a_damaged_manifest_is_wrong_usage_that_names_it(output):
    publish_bytes(b"x" * 100, output.manifest_parts()[0])
    with pytest.raises(UsageError, match=r"manifest/.*damaged"):
        status(output)


def test_a_label_file_that_no_ledger_knows_is_done(output):
    """As after SIGKILL: the label file was published, its row was still in memory."""
    before = ledger.read(output.ledger)
    ledger.write(before[:1], output.ledger)
    assert states(settle(output)) == ["done", "done", "failed", "failed"]
    assert ledger.read(output.ledger)[1].counts == before[1].counts


def test_a_label_file_is_done_whatever_the_ledger_says(output):
    """As after SIGKILL in a second attempt: the ledger still holds the first one's failure."""
    row = ledger.read(output.ledger)[0]
    Path(output.ledger).unlink()
    ledger.write(
        [replace(row, state="failed", error="read: no network", counts=Counts())],
        output.ledger_part(ledger.part_name()),
    )
    settle(output)
    assert ledger.read(output.ledger)[0].counts == row.counts
    assert states(status(output)) == ["done", "done", "failed", "failed"]


def test_a_shard_whose_label_file_is_gone_is_missing(output):
    Path(output.label(label_name(output, 0))).unlink()
    assert states(status(output)) == ["missing", "done", "failed", "failed"]
    assert status(output).read == 10


def test_a_damaged_label_file_that_only_its_footer_could_tell_of_is_missing(output):
    path = Path(output.label(label_name(output, 0)))
    path.write_bytes(path.read_bytes()[:-100])
    Path(output.ledger).unlink()
    assert states(status(output)) == ["missing", "done", "failed", "failed"]


def test_a_done_shard_is_not_failed_by_what_stands_in_failed(output):
    row = rows(status(output))[0]
    output.write_json(output.failed(label_name(output, 0)), {"url": row.url, "attempts": 1})
    failed = LedgerRow(url=row.url, state="failed", error="read: no network", attempts=1)
    ledger.write([failed], output.ledger_part(ledger.part_name()))
    assert states(settle(output))[0] == "done"


def test_a_failed_shard_that_is_done_later_is_done(tiny, scenes, tmp_path):
    output = Output.of(str(tmp_path / "out"))
    path = tmp_path / "a.tar"
    path.write_bytes(b"no archive" * 100)
    assert states(label(tiny, [path], output)) == ["failed"]
    path.write_bytes(scenes[0].read_bytes())
    now = label(tiny, [path], output)
    assert states(now) == ["done"]
    assert rows(now)[0].attempts == 2
    assert output.failures() == set()


def test_a_run_that_stopped_early_lists_what_is_missing_and_goes_on(tiny, scenes, tmp_path):
    half = Output.of(str(tmp_path / "half"))
    assert states(label(tiny, scenes, half, only=1)) == ["done", "missing"]
    whole = Output.of(str(tmp_path / "whole"))
    now = label(tiny, scenes, half)
    assert states(now) == states(label(tiny, scenes, whole)) == ["done", "done"]
    assert [row.counts for row in ledger.read(half.ledger)] == [row.counts for row in ledger.read(whole.ledger)]


def test_a_done_shard_that_moved_in_the_store_is_stale(output, scenes):
    first = describe_many([str(scenes[0])])[0]
    manifest.add(output, [replace(first, etag="moved")])
    now = status(output)
    assert now.stale == (first.url,)
    assert states(now)[0] == "done"


def test_a_shard_without_an_etag_is_never_stale(output, scenes):
    first = describe_many([str(scenes[0])])[0]
    manifest.add(output, [replace(first, etag=None)])
    assert status(output).stale == ()


def test_failures_without_a_ledger_keep_their_counts(tiny, tmp_path):
    path = write_tar(tmp_path / "a.tar", {"a.txt": b"no image", "b.txt": b"none either"})
    output = Output.of(str(tmp_path / "out"))
    label(tiny, [path], output)
    Path(output.ledger).unlink()
    row = status(output).failures[0]
    assert (row.reason, row.attempts) == ("too_many_failed", 1)
    assert row.counts == Counts(read=2, failed={"missing_image": 2}, directories=0)


@pytest.mark.parametrize("damage", [b"{}", b'{"url": 1}', b"{", b"[]"])
def test_a_damaged_record_of_a_failure_is_wrong_usage_or_a_missing_shard(output, damage):
    Path(output.ledger).unlink()
    publish_bytes(damage, output.failed(label_name(output, 2)))
    with pytest.raises(UsageError, match=r"\.json: damaged"):
        status(output)


def test_status_of_nothing_is_nothing(tmp_path):
    now = status(Output.of(str(tmp_path)))
    assert (len(now), rows(now), now.stale, now.read, now.failed_by_reason) == (0, [], (), 0, {})


def test_a_run_in_a_store_is_settled_as_one_on_disk(finished):
    """memory:// has no folders and no renames, as an object store."""
    there = Output.of(f"memory://{uuid.uuid4().hex}/out")
    for path in Path(finished.url).rglob("*"):
        if path.is_file() and path.name != "ledger.parquet":
            publish_bytes(path.read_bytes(), f"{there.url}/{path.relative_to(finished.url)}")
    settle(there)
    assert [row.counts for row in ledger.read(there.ledger)] == [row.counts for row in ledger.read(finished.ledger)]
    assert status(there).bytes == status(finished).bytes


def test_reasons_come_most_frequent_first():
    rows = (
        LedgerRow(url="a", state="done", counts=Counts(read=3, failed={"decode": 1, "empty": 2})),
        LedgerRow(url="b", state="done", counts=Counts(read=4, labeled=1, failed={"empty": 1, "too_large": 2})),
        LedgerRow(url="c", state="failed", counts=Counts(read=9, failed={"decode": 9})),
    )
    now = Status.from_rows(rows)
    assert list(now.failed_by_reason.items()) == [("empty", 3), ("too_large", 2), ("decode", 1)]
    assert now.read == now.labeled + sum(now.failed_by_reason.values()) == 7


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["done", "failed", "missing"])), max_size=20))
def test_later_rows_win_but_no_failure_takes_back_a_done_shard(events):
    kept = _last(ledger.to_table(LedgerRow(url=url, state=state) for url, state in events).select(BRIEF.names))
    assert sorted(events[index][0] for index in kept) == sorted({url for url, _ in events})
    for index in kept:
        url, state = events[index]
        mine = [number for number, (other, _) in enumerate(events) if other == url]
        done = [number for number in mine if events[number][1] == "done"]
        assert index == (done or mine)[-1], (state, events)


def test_a_shard_may_be_asked_for_before_it_exists(tiny, scenes, tmp_path):
    output = Output.of(str(tmp_path / "out"))
    path = tmp_path / "late.tar"
    assert [row.reason for row in label(tiny, [path], output).rows()] == ["missing"]
    path.write_bytes(scenes[0].read_bytes())
    now = label(tiny, [path], output)
    assert states(now) == ["done"]
    assert now.stale == ()
    assert isinstance(describe_many([str(path)])[0], Shard)
