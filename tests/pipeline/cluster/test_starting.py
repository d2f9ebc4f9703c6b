"""A Ray that is not up in time is started again, with longer limits, and at last the error names a fix."""

import os

import pytest

from maskmill.models.errors import EnvironmentFailure
from maskmill.pipeline.cluster.starting import LIMITS, STARTS, start_patiently

SETTING = "RAY_agent_register_timeout_ms"
SLOW = Exception("The current node timed out during startup. This could happen because some of the raylet failed.")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    for name in LIMITS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def limits(*errors: Exception) -> list[str | None]:
    """The limit of each try, where the first of them end with these errors; what a failed try left was ended."""
    found, ended, left = [], [], list(errors)

    def start() -> None:
        found.append(os.environ.get(SETTING))
        if left:
            raise left.pop(0)

    start_patiently(start, again=lambda: ended.append(len(found)))
    assert ended == list(range(1, len(found)))
    return found


def test_a_slow_start_is_tried_again_with_longer_limits():
    assert limits() == [None]
    assert limits(SLOW, SLOW) == [None, "300000", "300000"]


def test_limits_of_the_users_own_stay(monkeypatch):
    monkeypatch.setenv(SETTING, "7")
    assert limits(SLOW) == ["7", "7"]


def test_what_is_slow_each_time_is_an_error_that_names_a_fix():
    with pytest.raises(EnvironmentFailure, match=r"Ray can't start: 3 times .* End other programs here"):
        limits(*[SLOW] * STARTS)


def test_what_is_not_slow_is_not_tried_again():
    with pytest.raises(ValueError, match="no such address"):
        limits(ValueError("no such address"))
