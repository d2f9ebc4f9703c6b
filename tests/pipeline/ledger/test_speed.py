"""A run's speed and time left, read off its ledger: mid-job, after a break, after a kill, after the end."""

from datetime import UTC, datetime, timedelta

import pytest

from maskmill.pipeline.ledger import ledger, summary
from maskmill.pipeline.ledger.counts import Counts
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.ledger.speed import RunSpeed, run_speed
from maskmill.pipeline.ledger.status import Status
from maskmill.pipeline.output import Output

PHASES = {"download": 1.5, "decode": 0.5, "model": 6.0, "encode": 0.2, "publish": 0.1}
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def done(number: int, start: float, end: float, images: int = 100) -> LedgerRow:
    return LedgerRow(
        url=f"s3://b/{number}.tar",
        state="done",
        counts=Counts(read=images, labeled=images),
        seconds=PHASES,
        replica="node-1:77",
        started=after(start),
        ended=after(end),
    )


def missing(count: int) -> list[LedgerRow]:
    return [LedgerRow(url=f"s3://b/missing-{number}.tar", state="missing") for number in range(count)]


@pytest.fixture
def output(tmp_path) -> Output:
    return Output.of(str(tmp_path))


def speed(output: Output, rows: list[LedgerRow], *, reported: float | None, at: float) -> RunSpeed:
    if reported is not None:
        ledger.write([], output.ledger_part(ledger.part_name(after(reported))))
    return run_speed(Status.from_rows(rows), output, at=after(at))


def test_a_steady_job_has_its_speed_and_the_time_that_is_left(output):
    two_at_a_time = [done(n, 20 * (n // 2), 20 * (n // 2) + 20) for n in range(200)]  # ten images a second
    now = speed(output, two_at_a_time + missing(50), reported=2000, at=2030)
    assert now.running
    assert now.recent == pytest.approx(10, rel=0.05)
    assert now.overall == pytest.approx(10)
    assert now.worked == 2000
    assert now.left == pytest.approx(500, rel=0.05)


def test_shards_longer_than_the_window_are_not_counted_as_if_they_began_in_it(output):
    hours = [done(n, 3600 * n, 3600 * (n + 1), images=3600) for n in range(5)]
    now = speed(output, hours + missing(2), reported=5 * 3600, at=5 * 3600 + 60)
    assert now.recent == pytest.approx(1)
    assert now.left == pytest.approx(2 * 3600)


def test_right_after_a_resume_the_earlier_job_and_the_break_do_not_count(output):
    earlier = [done(n, n, n + 1) for n in range(1000)]  # a hundred images a second
    fewer_machines = [done(1000 + n, 87_400 + 10 * n, 87_410 + 10 * n) for n in range(3)]
    now = speed(output, earlier + fewer_machines + missing(6), reported=87_430, at=87_440)
    assert now.recent == pytest.approx(10)
    assert now.left == pytest.approx(60)
    assert now.worked == 1030
    assert now.overall == pytest.approx(100_300 / 1030)


def test_before_the_resumed_job_reports_it_has_no_speed_of_its_own(output):
    now = speed(output, [done(0, 0, 10), *missing(1)], reported=None, at=90_000)
    assert (now.running, now.reported, now.recent, now.left) == (False, None, None, None)
    assert now.overall == pytest.approx(10)


def test_a_job_of_which_nothing_is_heard_has_stopped(output):
    rows = [done(0, 0, 10), *missing(1)]
    assert speed(output, rows, reported=15, at=300).running
    now = run_speed(Status.from_rows(rows), output, at=after(1000))
    assert (now.running, now.recent, now.left) == (False, None, None)
    assert now.reported == after(15)


def test_a_job_whose_shards_take_long_may_be_quiet_for_long(output):
    rows = [done(0, 0, 3000), *missing(1)]
    assert speed(output, rows, reported=3000, at=6000).running
    assert not run_speed(Status.from_rows(rows), output, at=after(13_000)).running


def test_the_slowest_shards_are_named_slowest_first_failed_ones_too(output):
    rows = [done(n, 0, 10 + n) for n in range(8)]
    rows[3] = LedgerRow(
        url="s3://b/hung.tar", state="failed", error="stalled: no bytes", started=after(0), ended=after(600)
    )
    now = speed(output, rows, reported=None, at=700)
    assert [row.url for row in now.slowest] == ["s3://b/hung.tar", *(f"s3://b/{n}.tar" for n in (7, 6, 5, 4))]


def test_a_run_of_which_nothing_was_timed_has_no_speed(output):
    for rows in ([], missing(3), [LedgerRow(url="s3://b/a.tar", state="done", counts=Counts(read=9, labeled=9))]):
        now = speed(output, rows, reported=None, at=0)
        assert (now.overall, now.worked, now.slowest) == (None, 0.0, ())
        assert not any(
            line.startswith(("speed", "left", "slowest")) for line in summary.speed_lines(now, Status.from_rows(rows))
        )


def test_files_beside_the_parts_are_no_reports(output):
    ledger.write([], output.ledger_part("notes"))
    assert speed(output, [done(0, 0, 1)], reported=None, at=2).reported is None


def test_people_are_told_speed_time_left_the_last_report_and_the_slowest(output):
    rows = [*(done(n, 10 * n, 10 * n + 10) for n in range(20)), *missing(90)]
    found = speed(output, rows, reported=200, at=240)
    told = summary.speed_lines(found, Status.from_rows(rows), at=after(240))
    assert told[:4] == [
        "speed     10.0 images/s lately, 10.0 images/s over 3 min of work",
        "left      about 15 min for 90 shards",
        "report    the job's last was 40 s ago",
        "slowest   10.0 s, model 6.0, download 1.5  on node-1:77  s3://b/0.tar",
    ]


def test_people_are_told_how_a_stopped_job_goes_on(output):
    rows = [done(0, 0, 10), *missing(1)]
    found = speed(output, rows, reported=15, at=7215)
    assert summary.speed_lines(found, Status.from_rows(rows), at=after(7215))[1] == (
        "report    the job's last was 2 h 0 min ago; the job has stopped, the same `label` goes on with it"
    )
    ended = [done(0, 0, 10)]
    assert summary.speed_lines(speed(Output.of("/nowhere"), ended, reported=None, at=0), Status.from_rows(ended)) == [
        "speed     10.0 images/s over 10 s of work",
        "slowest   10.0 s, model 6.0, download 1.5  on node-1:77  s3://b/0.tar",
    ]


def test_programs_get_seconds_and_images_per_second(output):
    found = speed(output, [done(0, 0, 10), *missing(3)], reported=15, at=20)
    value = summary.speed_to_json(found)
    assert value == {
        "running": True,
        "reported": "2026-03-01T12:00:15+00:00",
        "images_per_second": pytest.approx(10),
        "images_per_second_overall": pytest.approx(10),
        "seconds_worked": 10.0,
        "seconds_left": pytest.approx(30),
        "slowest": [
            {
                "url": "s3://b/0.tar",
                "seconds": 10.0,
                "phases": PHASES,
                "replica": "node-1:77",
            }
        ],
    }
