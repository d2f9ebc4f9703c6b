"""`retry` as a user runs it: Ray, replicas, exit codes. Which shards it takes is tests/pipeline/test_retry.py's."""

import shutil

import pytest

from tests.jobs.conftest import MANY_SEGMENTS, Workplace


@pytest.mark.slow
def test_failed_and_changed_shards_are_labeled_again_and_sealed(workplace: Workplace) -> None:
    workplace.run("synthesize", "shards", "--shards", "3", "--samples", "6")
    first, second, third = sorted((workplace.cwd / "shards").glob("*.tar"))
    sound = second.read_bytes()
    second.write_bytes(b"no archive" * 100)
    one_cpu = ("--batch-size", "4", "--cpus-per-replica", "1")
    ended = workplace.run("label", "shards", "-o", "out", *MANY_SEGMENTS, *one_cpu)
    assert (ended.code, "2 done, 1 failed" in ended.out) == (1, True), ended.err

    refused = workplace.run("compact", "out", "table")
    assert refused.code == 2
    assert "1 of 3 shards are failed or missing" in refused.err

    second.write_bytes(sound)
    shutil.copy(first, third)
    ended = workplace.run("retry", "out", "--stale", *one_cpu)
    assert ended.code == 0, ended.err
    assert ": 1 failed, 1 stale\n" in ended.out
    assert "shards    3 done, 0 failed, 0 missing, of 3 asked for" in ended.out
    assert "stale " not in ended.out
    sql = "SELECT count(*) AS rows, count(DISTINCT shard) AS shards FROM labels"
    assert '{"rows": 18, "shards": 3}' in workplace.run("query", "out", sql, "--json").out
    assert workplace.run("verify", "out", "--deep").code == 0

    third.write_bytes(b"no archive" * 100)
    ended = workplace.run("retry", "out", "--stale", *one_cpu)
    assert ended.code == 1
    assert f"kept      {third}  its earlier labels: not_tar" in ended.out
    assert "shards    3 done" in ended.out

    assert workplace.run("compact", "out", "table").code == 0
    assert '{"rows": 18, "shards": 3}' in workplace.run("query", "table", sql, "--json").out
    ended = workplace.run("label", "shards", "-o", "table", *MANY_SEGMENTS)
    assert (ended.code, ended.out) == (2, "")
    assert "a sealed table, nothing is added to it" in ended.err
    assert "a sealed table" in workplace.run("retry", "table").err
    assert list(workplace.scratch.glob("maskmill-*")) == []
