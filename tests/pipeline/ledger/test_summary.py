"""The summary says in a few lines how a run stands, for any run."""

import json

from maskmill.pipeline.json_stream import chunks
from maskmill.pipeline.ledger import summary
from maskmill.pipeline.ledger.counts import Counts
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.ledger.status import Status


def test_a_run_of_nothing_has_a_summary():
    assert summary.lines(Status.from_rows([])) == [
        "shards    0 done, 0 failed, 0 missing, of 0 asked for",
        "samples   0 read = 0 labeled + 0 failed",
        "segments  0, 0.0 a labeled image; label files 0.0 MB",
    ]


ROWS = (
    LedgerRow(
        url="s3://b/a.tar",
        state="done",
        bytes=2_500_000,
        counts=Counts(
            read=1200, labeled=1000, failed={"decode": 50, "empty": 150}, segments=3500, unkeyed=3, truncated=True
        ),
    ),
    LedgerRow(
        url="s3://b/b.tar", state="failed", error="not_tar: no archive", attempts=2, counts=Counts(read=5, labeled=5)
    ),
    LedgerRow(url="s3://b/c.tar", state="missing"),
)


def test_everything_that_is_not_right_is_told():
    assert summary.lines(Status.from_rows(ROWS, stale=["s3://b/a.tar"])) == [
        "shards    1 done, 1 failed, 1 missing, of 3 asked for",
        "samples   1,200 read = 1,000 labeled + 200 failed (empty 150, decode 50)",
        "segments  3,500, 3.5 a labeled image; label files 2.5 MB",
        "other     3 files in the shards belong to no sample",
        "cut       1 done shards were cut; their whole samples were taken",
        "failed    s3://b/b.tar  not_tar: no archive  (attempts: 2)",
        "missing   s3://b/c.tar",
        "stale     s3://b/a.tar  has another etag or time than when it was labeled",
        "          `maskmill retry OUT --stale` compares them, and labels again those that differ",
    ]


def test_a_shard_that_is_not_there_may_be_a_mistyped_name_that_can_be_forgotten():
    absent = LedgerRow(url="s3://b/typo.tar", state="failed", error="missing: s3://b/typo.tar does not exist")
    assert summary.lines(Status.from_rows([absent]))[-2:] == [
        "failed    s3://b/typo.tar  missing: s3://b/typo.tar does not exist  (attempts: 0)",
        "          `maskmill forget OUT SHARDS` takes names out of the run that were mistyped",
    ]


def test_members_of_no_sample_and_samples_packed_apart_are_told():
    counts = Counts(read=9, labeled=9, unkeyed=1, directories=2, warned={"caption_json": 1, "split_sample": 8})
    now = Status.from_rows([LedgerRow(url="s3://b/a.tar", state="done", counts=counts)])
    assert summary.lines(now)[3:] == [
        "other     1 file and 2 directories in the shards belong to no sample",
        "warnings  split_sample 8, caption_json 1",
        "split     8 samples packed apart: read whole here, not by webdataset",
        "          to pack right: find FOLDER -type f | sort | tar -cf NEW.tar -T -",
    ]
    value = json.loads("".join(chunks(summary.to_json(now))))
    assert (value["directories"], value["warnings"]) == (2, {"split_sample": 8, "caption_json": 1})


def test_one_directory_alone_is_told():
    now = Status.from_rows([LedgerRow(url="s3://b/a.tar", state="done", counts=Counts(directories=1))])
    assert summary.lines(now)[3:] == ["other     1 directory in the shards belongs to no sample"]


def test_long_lists_are_cut_for_people_and_whole_for_programs():
    now = Status.from_rows(LedgerRow(url=f"s3://b/{n}.tar", state="missing") for n in range(2_000))
    text = summary.lines(now)
    assert len(text) == 3 + summary.SHOWN + 1
    assert text[-1] == "missing   and 1,990 more"
    assert len(json.loads("".join(chunks(summary.to_json(now))))["missing"]) == 2_000


def test_the_summary_for_programs_has_the_same_numbers():
    value = json.loads("".join(chunks(summary.to_json(Status.from_rows(ROWS, stale=["s3://b/a.tar"])))))
    assert value["shards"] == {"done": 1, "failed": 1, "missing": 1, "stale": 1}
    assert value["samples"] == {
        "read": 1200,
        "labeled": 1000,
        "failed": 200,
        "failed_by_reason": {"decode": 50, "empty": 150},
    }
    assert value["failed"] == [{"url": "s3://b/b.tar", "error": "not_tar: no archive", "attempts": 2}]
    assert (value["segments"], value["bytes"], value["unkeyed"], value["truncated"]) == (3500, 2_500_000, 3, 1)
