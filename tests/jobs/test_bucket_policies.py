"""infra/policies against what commands really ask of buckets: enough for all of them, and nothing that none needs."""

import dataclasses
from collections.abc import Iterator

import pytest

from tests.guarded_store import LABELS, SHARDS, Guard, guarded_store, permissions
from tests.jobs.conftest import Workplace
from tests.s3_server import S3Server

OUT = f"s3://{LABELS}/runs/first"

FOR_LARGE_FILES = {"s3:AbortMultipartUpload"}
"""What only files of more than 5 GiB need, which go up in parts: so that a failed one leaves no parts to pay for."""


@pytest.fixture
def guarded() -> Iterator[tuple[S3Server, Guard]]:
    with guarded_store(permissions("read.json", "write.json")) as made:
        yield made


@pytest.mark.slow
def test_all_commands_get_by_on_the_policies_and_use_all_they_grant(
    guarded: tuple[S3Server, Guard], workplace: Workplace
) -> None:
    store, guard = guarded
    mine = {**workplace.environment, **dataclasses.replace(store, user="user").environment()}
    place = dataclasses.replace(workplace, environment=mine)
    assert place.run("synthesize", "in", "--shards", "3", "--samples", "4").code == 0
    whole = {f"shards/{path.name}": path.read_bytes() for path in sorted((place.cwd / "in").glob("*.tar"))}
    (last, data) = list(whole.items())[-1]
    store.put_all(whole | {last: b"no tar" * 1000})
    label = ("label", f"s3://{SHARDS}/shards/", "--output", OUT, "--model", "san-tiny")
    expected = [
        (1, label),
        (0, (*label, "--dry-run")),
        (0, label),
        (0, ("status", OUT)),
        (0, ("verify", "--deep", OUT)),
        (0, ("query", OUT, "SELECT count(*) FROM labels")),
        (0, ("compact", OUT, f"s3://{LABELS}/runs/sealed")),
    ]
    for code, command in expected:
        ended = place.run(*command)
        store.put_all({last: data})
        assert guard.denied == [], command
        assert ended.code == code, (command, ended.out, ended.err)
    unused = {one for one in guard.granted if one not in guard.used and one.action not in FOR_LARGE_FILES}
    assert unused == set()


@pytest.mark.slow
def test_an_output_outside_of_the_policy_is_one_line(guarded: tuple[S3Server, Guard], workplace: Workplace) -> None:
    store, guard = guarded
    mine = {**workplace.environment, **dataclasses.replace(store, user="user").environment()}
    place = dataclasses.replace(workplace, environment=mine)
    assert place.run("synthesize", "in", "--shards", "1", "--samples", "1").code == 0
    ended = place.run("label", "in", "--output", f"s3://{LABELS}/elsewhere", "--model", "san-tiny")
    assert ended.code == 3
    assert guard.denied
    assert ended.err.count("\n") == 1
    assert "elsewhere" in ended.err
