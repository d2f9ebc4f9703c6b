"""When failed shards end a job: isolated ones never do, a bucket that refuses everything does at once."""

import pytest

from maskmill.models.errors import EnvironmentFailure
from maskmill.pipeline.ledger.tolerance import Failures, TooManyFailedError

READ = "read: ServerError: 503"


def run(failures: Failures, pattern: str) -> int:
    """Shards end one after the other, `x` for a failed one; how many it took until that was too much, or all."""
    for index, how in enumerate(pattern):
        try:
            failures.add(f"/{index}.tar", READ if how == "x" else None)
        except TooManyFailedError:
            return index + 1
    return len(pattern)


@pytest.mark.parametrize(
    ("bound", "pattern", "ended"),
    [
        ("0.1", "x" * 49, 49),
        ("0.1", "x" * 60, 50),
        ("0.1", "." * 10_000 + "x" * 60, 10_060),
        ("0.1", ("." * 8 + "x") * 100, 450),
        ("0.1", ("." * 10 + "x") * 100, 1_100),
        ("0", "...x", 4),
        ("0", "x...", 1),
        ("2", "x.x.x.x", 5),
        ("1.0", "x" * 1_000, 1_000),
    ],
)
def test_a_count_counts_at_once_and_a_share_from_fifty_on(bound, pattern, ended):
    assert run(Failures(bound), pattern) == ended


def test_one_line_says_how_many_of_how_many_what_was_most_common_and_what_to_do():
    failures = Failures("3")
    failures.add("/sound.tar", None)
    failures.add("s3://b/0.tar", "truncated: at byte 512")
    failures.add("s3://b/1.tar", READ)
    failures.add("s3://b/2.tar", READ)
    with pytest.raises(EnvironmentFailure) as ended:
        failures.add("s3://b/3.tar", READ)
    said = str(ended.value)
    assert "\n" not in said
    assert "4 of the 5 shards that ended had failed, 3 of them `read`" in said
    assert f"s3://b/1.tar: {READ}" in said
    assert "same command again" in said
    assert "--max-failed-shards, now 3" in said


def test_shards_that_failed_in_an_earlier_job_are_no_news():
    """A job that resumes with failed shards alone tries them all, whatever the bound."""
    failures = Failures("0.1", known={f"/{n}.tar" for n in range(1_000)})
    assert run(failures, "x" * 1_000) == 1_000
    assert run(Failures("0", known={"/0.tar"}), "xx") == 2


def test_shards_that_lost_their_worker_count_too_though_nobody_knows_which():
    failures = Failures("0.1")
    failures.died(30)
    failures.died(30)
    for number in range(19):
        failures.add(f"/{number}.tar", READ)
    with pytest.raises(TooManyFailedError, match="31 of them `crashed`"):
        failures.died(31)
