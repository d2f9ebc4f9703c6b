"""A rate is that of the last minutes, whatever came before, and time left follows it."""

import pytest

from maskmill.pipeline.ledger.pace import LEAST_SHARDS, WINDOW_SECONDS, Pace, duration


def test_before_the_first_end_there_is_no_rate():
    pace = Pace(0.0)
    assert pace.images_a_second(10.0) is None
    assert pace.seconds_for(5, 10.0) is None


def test_a_steady_pace_is_found_and_foretells_the_end():
    pace = Pace(0.0)
    for second in range(1, 2001):
        pace.add(float(second), images=50)
    assert pace.images_a_second(2000.0) == pytest.approx(50, rel=0.02)
    assert pace.seconds_for(300, 2000.0) == pytest.approx(300, rel=0.02)


def test_what_was_fast_ten_minutes_ago_no_longer_counts():
    pace = Pace(0.0)
    for tenth in range(1, 36_001):  # an hour of ten shards a second
        pace.add(tenth / 10, images=100)
    for second in range(1, 601):  # most machines are gone
        pace.add(3600.0 + second, images=100)
    assert pace.images_a_second(4200.0) == pytest.approx(100, rel=0.05)


def test_a_slow_start_no_longer_counts_either():
    pace = Pace(0.0)
    for second in range(600, 1201):  # replicas took ten minutes to come
        pace.add(float(second), images=100)
    assert pace.images_a_second(1200.0) == pytest.approx(100, rel=0.02)


def test_large_shards_that_end_rarely_have_a_rate():
    pace = Pace(0.0)
    for shard in range(1, 41):
        pace.add(shard * 900.0, images=9000)
    assert pace.images_a_second(36_000.0) == pytest.approx(10, rel=0.01)
    assert pace.seconds_for(4, 36_000.0) == pytest.approx(3600, rel=0.01)


def test_shards_that_end_in_bursts_are_spread_over_the_time_they_took():
    pace = Pace(0.0)
    for burst in range(1, 11):  # a hundred replicas in step, twenty minutes a shard
        for _ in range(100):
            pace.add(burst * 1200.0, images=12)
    assert pace.images_a_second(12_000.0) == pytest.approx(1.0, rel=0.05)


def test_when_shards_stop_ending_the_rate_falls():
    pace = Pace(0.0)
    for second in range(1, 601):
        pace.add(float(second), images=10)
    at_end, later, much_later = (pace.images_a_second(now) for now in (600.0, 900.0, 6000.0))
    assert at_end > 1.9 * later > 3 * much_later


def test_memory_is_bounded_by_the_window_and_not_by_the_shards():
    pace = Pace(0.0)
    for shard in range(50_000):
        pace.add(shard / 20, images=1)
    assert len(pace._slots) <= WINDOW_SECONDS / 5 + 2
    assert pace._shards >= LEAST_SHARDS


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (45.4, "45 s"),
        (59.7, "1 min"),
        (3599.0, "1 h 0 min"),
        (12_000.0, "3 h 20 min"),
        (4.2 * 86_400, "4.2 days"),
    ],
)
def test_a_time_is_told_to_about_two_digits(seconds, text):
    assert duration(seconds) == text
